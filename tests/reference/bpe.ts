/**
 * Byte-pair encoding as its definition reads: the pair of the lowest rank is merged, the leftmost first, until no pair has a
 * rank. Two ways to begin: GPT-2's bytes after its split, and SentencePiece's characters with bytes where a character is unknown.
 */

type Ranks = ReadonlyMap<string, number>;

/** Ranks of `A B` pairs, in their order. */
export function ranksOf(merges: readonly (string | readonly string[])[]): Ranks {
  return new Map(merges.map((pair, rank) => [typeof pair === "string" ? pair : pair.join(" "), rank]));
}

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

/** GPT-2's printable stand-in for each byte. */
function byteCharacters(): string[] {
  const isPrintable = (b: number) =>
    (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(isPrintable(b) ? b : next++));
}

/** The tokens of GPT-2's tokenizer, no special ones. */
export function gpt2Tokens(text: string, ranks: Ranks): string[] {
  const characters = byteCharacters();
  const words = text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu) ??
    [];
  return words.flatMap((word) =>
    merge([...new TextEncoder().encode(word)].map((byte) => characters[byte]), ranks)
  );
}

/** The tokens of a LLaMA tokenizer, no special ones. */
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
