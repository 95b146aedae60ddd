/**
 * The page built as a document, so that no text can become markup: everything a run names goes through text nodes
 * and attributes, which are escaped when the document is written out. Where linkedom does not, this file does.
 */

import { DOMParser } from "linkedom";

/** What the report needs of a document. */
export interface Page {
  readonly head: PageElement;
  readonly body: PageElement;
  createElement(tag: string): PageElement;
  createElementNS(namespace: string, tag: string): PageElement;
  /** The page as HTML text. */
  toString(): string;
}

/** What it needs of an element. */
export interface PageElement {
  /** Its children as HTML text. */
  readonly innerHTML: string;
  setAttribute(name: string, value: string): void;
  append(...children: readonly (PageElement | string)[]): void;
  prepend(...children: readonly (PageElement | string)[]): void;
}

/** What goes into an element: other elements, texts, or nothing. */
export type Child = PageElement | string | undefined;

/** An empty page in English. */
export function emptyPage(): Page {
  const text = '<!DOCTYPE html><html lang="en"><head></head><body></body></html>';
  // Its types ask for arguments that it does not need.
  return new DOMParser().parseFromString(text, "text/html") as unknown as Page;
}

/** An element with attributes and children. */
export function element(
  document: Page,
  tag: string,
  attributes: Readonly<Record<string, string>> = {},
  children: readonly Child[] = [],
): PageElement {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    // linkedom escapes only the quotes in HTML's attributes.
    made.setAttribute(name, value.replaceAll("&", "&amp;").replaceAll("<", "&lt;"));
  }
  made.append(...children.filter((child) => child !== undefined));
  return made;
}

/** A title element. linkedom writes its text out as it is, unlike that of other elements. */
export function pageTitle(document: Page, text: string): PageElement {
  return element(document, "title", {}, [element(document, "p", {}, [text]).innerHTML]);
}
