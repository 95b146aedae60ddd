/** Shows errors. An error of the API is shown with the code of the problem and the id of the request. */

import { PareError } from "../../client/mod.ts";
import { make } from "./dom.ts";

/** Shows `error` in `place`, or clears `place` if `error` is undefined. */
export function showProblem(place: HTMLElement, error: unknown): void {
  const text = error === undefined ? "" : problemText(error);
  if (place.dataset.text === text) return;
  place.dataset.text = text;
  place.replaceChildren(...text === "" ? [] : [make("p", { class: "problem" }, text)]);
}

function problemText(error: unknown): string {
  if (error instanceof PareError) {
    const request = error.requestId === undefined ? "" : ` (request ${error.requestId})`;
    return `${error.code}: ${error.detail}${request}`;
  }
  return error instanceof Error ? error.message : String(error);
}
