/** The field for an API key. The key is stored in the session storage of the browser tab, and nowhere else. */

import type { TransportOptions } from "../../client/mod.ts";
import { byId, setText } from "./dom.ts";

const STORAGE_NAME = "pare-key";

/** Returns the options of the SDK's clients: this server, and the key if the user has given one. */
export function serverOptions(): TransportOptions {
  return { baseUrl: location.origin, apiKey: currentKey() };
}

/** Returns the key, or undefined if the user has given none. */
export function currentKey(): string | undefined {
  return sessionStorage.getItem(STORAGE_NAME) ?? undefined;
}

/** Whether the page has a field for a key, and the user has given none. */
export function isKeyMissing(): boolean {
  return document.getElementById("key") !== null && currentKey() === undefined;
}

/** Connects the field, if the page has one. @param onChange called after each change of the key */
export function connectKeyField(onChange: () => void): void {
  if (document.getElementById("key") === null) return;
  const input = byId("key", HTMLInputElement), state = byId("key-state", HTMLElement);
  const initial = state.textContent;
  const show = () => setText(state, currentKey() === undefined ? initial : "in use for this tab");
  const change = (key: string) => {
    if (key === "") sessionStorage.removeItem(STORAGE_NAME);
    else sessionStorage.setItem(STORAGE_NAME, key);
    input.value = "";
    show();
    onChange();
  };
  byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.value.trim() !== "") change(input.value.trim());
  });
  byId("key-forget", HTMLButtonElement).addEventListener("click", () => change(""));
  show();
}
