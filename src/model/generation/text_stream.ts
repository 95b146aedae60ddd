/**
 * Decodes tokens to text one by one. A token may be a part of a character, and the decoders of some tokenizers treat the first
 * token of a text in another way. So a few earlier tokens are decoded again, with each new token and alone, and the two texts are
 * compared.
 */

import type { Tokenizer } from "@huggingface/tokenizers";

/** The text that decoders write for the bytes of an incomplete character. */
const INCOMPLETE = "\ufffd";

/** The text of a growing sequence of tokens. */
export class TextStream {
  readonly #tokenizer: Tokenizer;
  /** The tokens whose text was returned last, and the new ones. */
  #tokens: number[];
  /** The number of tokens at the start of `#tokens` whose text was returned. */
  #returned: number;

  /** @param before the tokens before the text */
  constructor(tokenizer: Tokenizer, before: Uint32Array) {
    this.#tokenizer = tokenizer;
    this.#tokens = [...before];
    this.#returned = before.length;
  }

  /** Adds a token. Returns the text that is now complete, which may be empty. */
  add(token: number): string {
    this.#tokens.push(token);
    const text = this.#newText();
    return text.endsWith(INCOMPLETE) ? "" : this.#take(text);
  }

  /** Returns the text that is left, with a replacement character for an incomplete one. */
  end(): string {
    return this.#take(this.#newText());
  }

  #newText(): string {
    const decode = (tokens: number[]) => (
      this.#tokenizer.decode(tokens, { skip_special_tokens: true, clean_up_tokenization_spaces: false })
    );
    return decode(this.#tokens).slice(decode(this.#tokens.slice(0, this.#returned)).length);
  }

  #take(text: string): string {
    if (text === "") return text;
    this.#tokens = this.#tokens.slice(this.#returned);
    this.#returned = this.#tokens.length;
    return text;
  }
}
