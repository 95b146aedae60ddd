/** The script of all pages with snippets. It shows the buttons that copy them. */

import { setText } from "./dom.ts";

/** How long a page says that a snippet was copied, in milliseconds. */
const NOTICE_MILLISECONDS = 3000;

for (const snippet of document.querySelectorAll(".snippet")) {
  const text = snippet.querySelector("pre"), button = snippet.querySelector("button");
  const status = snippet.querySelector("[role=status]");
  if (!text || !button || !status) continue;
  button.hidden = false;
  let timer: number | undefined;
  button.addEventListener("click", async () => {
    setText(status, await copy(text) ? "Copied." : "The browser refuses to copy. The text is selected.");
    clearTimeout(timer);
    timer = setTimeout(() => setText(status, ""), NOTICE_MILLISECONDS);
  });
}

/** Copies the text of an element. Pages over plain HTTP have no clipboard, so the text is selected first there. */
async function copy(element: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return document.execCommand("copy");
  }
}
