/** Texts on which tokenizers differ easily: scripts of the world, marks, emoji, digits, white space, code and control characters. */

/** Texts without white space at their ends. */
const PIECES = [
  ...[
    "The government's",
    "I'LL we're DON'T",
    "it’s",
    "naïve café",
    "nai\u0308ve cafe\u0301",
    "İstanbul ıĞ",
    "ﬁne ǅ",
  ],
  ...[
    "Ελληνικά",
    "Привет, мир",
    "שלום עולם",
    "مرحبا بالعالم",
    "हिन्दी में",
    "ภาษาไทย",
    "中文字符,测试。",
    "日本語のテスト",
    "한국어",
  ],
  ...["𠀀𠮷", "𝔘𝔫𝔦", "ʰˢ ᵃ", "👍🏽", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "❤️", "1️⃣", "🙂🙂🙂"],
  ...["1", "12345678", "3.14159", "1,000,000", "٣٤٥", "Ⅷ ½ x²", "2026-11-29T02:14Z", "0xFF", "a1b2"],
  ...[
    "if (a <= b) {\n\treturn a[0];\n}",
    "def f(x):\n    return x  # half",
    '<p class="a">&amp;</p>',
    "C:\\path\\n",
    "a/b//c",
  ],
  ...[
    "https://example.org/?q=a%20b#c",
    "!!!...???",
    "—“quoted”—",
    "$€£ 5%",
    "@user #tag",
    "__init__",
    "a_b-c",
    "(((",
    "~`^|",
  ],
  ...[
    "\u0000",
    "a\u0001b\u001b[0m",
    "\u007f\u0080\u009f",
    "\ufeffmark",
    "zero\u200bwidth\u200djoiner",
    "\ue000\u{f0000}",
  ],
  ...[
    "\ufffd",
    "\u0378",
    "\uffff",
    "\u{10ffff}",
    "soft\u00adhyphen",
    "\u202eright to left",
    "a▁b",
    "Ġab",
    "[PAD3]",
  ],
];

const SPACES = [
  "",
  " ",
  "  ",
  "\n",
  " \n ",
  "\t",
  "\r\n",
  "   ",
  "\n\n\n",
  "\u00a0",
  "\u3000",
  "\u2028",
  "\u0085",
  " \t \n\n  ",
];

/** At least 200 different texts, the empty one and texts of white space alone among them. */
export const AWKWARD_TEXTS: readonly string[] = [
  ...new Set([
    ...SPACES,
    ...PIECES,
    ...PIECES.map((piece, i) => SPACES[i % SPACES.length] + piece + SPACES[(i * 5 + 1) % SPACES.length]),
    ...PIECES.map((piece, i) => PIECES.at(i - 7)! + SPACES[(i * 3 + 2) % SPACES.length] + piece),
    PIECES.join(" "),
  ]),
];
