/** Reads the model card of the model that was pruned, so that the new card keeps its licence and its text. */

/** The line that ends the part of a card that Pare wrote. The text of the base model's card follows. */
export const END_OF_CARD = "<!-- The text above was written by Pare. -->";

/** The heading of the text of the base model's card. */
export const BASE_HEADING = "## Card of the base model";

export interface BaseCard {
  /** The settings of the licence, by their names in the metadata: `license`, `license_name` and `license_link`. */
  readonly licence: ReadonlyMap<string, string>;
  /** The text without its metadata. It may be empty. */
  readonly body: string;
}

/** Matches the metadata at the start of a card, which are YAML between two lines of hyphens. */
const METADATA = /^\ufeff?---[ \t]*\r?\n((?:.*?\n)??)---[ \t]*(?:\r?\n|$)/s;

/** The settings of the licence, and the values that are taken over. Values of any other form are left out. */
const LICENCE_VALUES: Readonly<Record<string, RegExp>> = {
  license: /^[\w.-]{1,100}$/,
  license_name: /^[\w. -]{1,100}$/,
  license_link: /^[\w.:/?=&#%~+-]{1,500}$/,
};

/** Reads a card, which is empty if the model has none. */
export function readBaseCard(card: string): BaseCard {
  const [metadata = "", settings = ""] = METADATA.exec(card) ?? [];
  const licence = new Map<string, string>();
  for (const [name, form] of Object.entries(LICENCE_VALUES)) {
    const [, text = ""] = new RegExp(`^${name}:[ \\t]+(.*?)[ \\t\\r]*$`, "m").exec(settings) ?? [];
    const value = text.replace(/^(["'])(.*)\1$/, "$2");
    if (form.test(value)) licence.set(name, value);
  }
  return { licence, body: card.slice(metadata.length) };
}

/** Returns the card of the base model in a card that Pare wrote, or `card` itself if another program wrote it. */
export function baseOfCard(card: string): BaseCard {
  const base = readBaseCard(card), end = base.body.indexOf(END_OF_CARD);
  if (end < 0) return base;
  const rest = base.body.slice(end + END_OF_CARD.length).trimStart();
  return { ...base, body: rest.startsWith(BASE_HEADING) ? rest.slice(BASE_HEADING.length) : rest };
}
