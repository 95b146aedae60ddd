/**
 * Builds the report page as a DOM document, with the linkedom library. Texts from a run, such as file names, become text nodes and
 * attribute values. These are escaped when the document is written as HTML, so a text cannot become markup. linkedom does not escape texts
 * in attributes and in the title, so this file escapes them there.
 */

import { DOMParser } from "linkedom";

/** The part of the DOM interface `Document` that the report uses. */
export interface Page {
  readonly head: PageElement;
  readonly body: PageElement;
  createElement(tag: string): PageElement;
  createElementNS(namespace: string, tag: string): PageElement;
  /** The page as HTML text. */
  toString(): string;
}

/** The part of the DOM interface `Element` that the report uses. */
export interface PageElement {
  /** The children as HTML text. */
  readonly innerHTML: string;
  setAttribute(name: string, value: string): void;
  append(...children: readonly (PageElement | string)[]): void;
  prepend(...children: readonly (PageElement | string)[]): void;
}

/** A child of an element: another element or a text. `undefined` is skipped. */
export type PageChild = PageElement | string | undefined;

/** Creates an empty page in English. */
export function emptyPage(): Page {
  const text = '<!DOCTYPE html><html lang="en"><head></head><body></body></html>';
  // The cast is necessary because linkedom's types require arguments that its functions do not need.
  return new DOMParser().parseFromString(text, "text/html") as unknown as Page;
}

/** Creates an element with attributes and children. */
export function createElement(
  document: Page,
  tag: string,
  attributes: Readonly<Record<string, string>> = {},
  children: readonly PageChild[] = [],
): PageElement {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    // In the attributes of HTML elements, linkedom escapes only quotes.
    created.setAttribute(name, value.replaceAll("&", "&amp;").replaceAll("<", "&lt;"));
  }
  for (const child of children) if (child !== undefined) created.append(child); // a long list cannot be spread over arguments
  return created;
}

/**
 * Creates the title element of the page. linkedom does not escape the text of a title. The text is therefore
 * put into a paragraph first, and the title gets the paragraph's escaped HTML.
 */
export function createTitle(document: Page, text: string): PageElement {
  return createElement(document, "title", {}, [createElement(document, "p", {}, [text]).innerHTML]);
}
