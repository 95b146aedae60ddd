/** Finds and makes elements. Texts become text nodes and attribute values, so no text can become markup. */

/** A child of an element. `undefined` is skipped. */
export type Child = Node | string | undefined;

/** Returns the element of the page with this id. @throws {TypeError} if it does not exist or has another class */
export function byId<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new TypeError(`element #${id}: must be a ${type.name}`);
  return found;
}

export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

export function makeSvg(
  tag: string,
  attributes: Readonly<Record<string, string | number>> = {},
  ...children: readonly (Node | string)[]
): SVGElement {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

/** Sets the text of an element, unless it has that text. An unchanged text is not announced again by screen readers. */
export function setText(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

export function makeFigure(picture: Element, caption: string): HTMLElement {
  return make("figure", {}, picture, make("figcaption", {}, caption));
}
