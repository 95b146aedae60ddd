/** The states of jobs and of layers: which are final, and how a state is shown. */

import type { JobState } from "../../../client/mod.ts";
import { setText } from "../dom.ts";

/** Whether `state` is final. The protocol has the same function, but importing it would add its schemas to the script. */
export function hasEnded(state: JobState): boolean {
  return state !== "queued" && state !== "running";
}

/** Shows `state` in an element, as text and as a class. */
export function showState(element: HTMLElement, state: JobState): void {
  setText(element, state);
  element.className = `chip ${state}`;
}
