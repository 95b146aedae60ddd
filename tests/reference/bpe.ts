/**
 * Byte-pair encoding of text into tokens, from its definition (Sennrich et al., arXiv 1508.07909): the
 * adjacent pair of symbols with the lowest rank is merged, again and again, until no pair has a rank. If a
 * pair occurs more than once, the leftmost one is merged first. For GPT-2, the text is first split into words
 * by a regular expression, and the initial symbols are the bytes of a word (`encoder.py` of openai/gpt-2).
 * For LLaMA, the initial symbols are characters, as in SentencePiece (Kudo & Richardson, arXiv 1808.06226).
 */

type Ranks = ReadonlyMap<string, number>;

/** The rank of each pair, which is its index in the list of merges. The key of the pair of symbols A and B is `A B`. */
export function ranksOf(merges: readonly (string | readonly string[])[]): Ranks {
  return new Map(merges.map((pair, rank) => [typeof pair === "string" ? pair : pair.join(" "), rank]));
}

/** Merges pairs in the list of symbols, in place, and returns the list. */
function merge(symbols: string[], ranks: Ranks): string[] {
  for (;;) {
    let best = Infinity, at = -1;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity;
      if (rank < best) [best, at] = [rank, i];
    }
    if (at < 0) return symbols;
    symbols.splice(at, 2, symbols[at] + symbols[at + 1]);
  }
}

/** The printable character with which GPT-2 represents each byte. */
export function byteCharacters(): string[] {
  const isPrintable = (b: number) =>
    (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(isPrintable(b) ? b : next++));
}

/** Encodes a text as GPT-2's tokenizer does, without special tokens. */
export function gpt2Tokens(text: string, ranks: Ranks): string[] {
  const characters = byteCharacters();
  const words = text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu) ??
    [];
  return words.flatMap((word) =>
    merge([...new TextEncoder().encode(word)].map((byte) => characters[byte]), ranks)
  );
}

/** Encodes a text as a LLaMA tokenizer does, without special tokens. A token outside the vocabulary is replaced by one token per byte. */
export function sentencePieceTokens(
  text: string,
  ranks: Ranks,
  vocabulary: Readonly<Record<string, number>>,
): string[] {
  const tokens = merge([...`▁${text.replaceAll(" ", "▁")}`], ranks);
  const asByte = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
  return tokens.flatMap((token) =>
    token in vocabulary ? [token] : [...new TextEncoder().encode(token)].map(asByte)
  );
}
