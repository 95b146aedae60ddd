/**
 * Byte-pair encoding by its definition (Sennrich et al., arXiv 1508.07909): merge the leftmost pair of the lowest rank until no adjacent
 * pair has a rank. GPT-2's tokenizer starts from the bytes of each word of its splitting expression. LLaMA's SentencePiece tokenizer
 * starts from characters, and writes a character that is not in the vocabulary as its bytes.
 */

type Ranks = ReadonlyMap<string, number>;

/** Returns the rank of each pair `A B`, which is its index in the list of merges. */
export function ranksOf(merges: readonly (string | readonly string[])[]): Ranks {
  return new Map(merges.map((pair, rank) => [typeof pair === "string" ? pair : pair.join(" "), rank]));
}

function merge(symbols: string[], ranks: Ranks): string[] {
  for (;;) {
    let best = Infinity, index = -1;
    for (let i = 0; i + 1 < symbols.length; i++) {
      const rank = ranks.get(`${symbols[i]} ${symbols[i + 1]}`) ?? Infinity;
      if (rank < best) [best, index] = [rank, i];
    }
    if (index < 0) return symbols;
    symbols.splice(index, 2, symbols[index] + symbols[index + 1]);
  }
}

/** Returns the printable character by which GPT-2's vocabulary represents each byte. */
function byteCharacters(): string[] {
  const isPrintable = (b: number) =>
    (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  let next = 256;
  return Array.from({ length: 256 }, (_, b) => String.fromCharCode(isPrintable(b) ? b : next++));
}

/** Splits text into the tokens of GPT-2's tokenizer. No special tokens are added. */
export function gpt2Tokens(text: string, ranks: Ranks): string[] {
  const characters = byteCharacters();
  const words = text.match(/'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu) ??
    [];
  return words.flatMap((word) =>
    merge([...new TextEncoder().encode(word)].map((byte) => characters[byte]), ranks)
  );
}

/** Splits text into the tokens of a LLaMA tokenizer. No special tokens are added. */
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
