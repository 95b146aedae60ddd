/**
 * The texts that have a name. Papers about pruning calibrate on C4 and measure the perplexity on raw WikiText2. A name stands for pinned
 * files of the Hugging Face hub, and for the way in which the code published with SparseGPT cuts them into windows.
 */

export const TEXT_NAMES = ["c4", "wikitext2"] as const;

export type TextName = (typeof TEXT_NAMES)[number];

/** The use of a text. Each use reads another file. */
export type TextUse = "calibration" | "evaluation";

export interface NamedText {
  /** The data set on the hub, in the form `OWNER/NAME`. */
  readonly repo: string;
  /** The commit whose files are read. */
  readonly commit: string;
  /** The path of the file for each use. */
  readonly files: Readonly<Record<TextUse, string>>;
}

export const NAMED_TEXTS: Readonly<Record<TextName, NamedText>> = {
  c4: {
    repo: "allenai/c4",
    commit: "607bd4c8450a42878aa9ddc051a65a055450ef87",
    files: {
      calibration: "en/c4-train.00000-of-01024.json.gz",
      evaluation: "en/c4-validation.00000-of-00008.json.gz",
    },
  },
  wikitext2: {
    repo: "Salesforce/wikitext",
    commit: "b08601e04326c79dfdd32d625aee71d232d685c3",
    files: {
      calibration: "wikitext-2-raw-v1/train-00000-of-00001.parquet",
      evaluation: "wikitext-2-raw-v1/test-00000-of-00001.parquet",
    },
  },
};

/** A text as an option names it: a file, a named text, or a file that is read as a named text. */
export interface TextReference {
  readonly name?: TextName;
  /** The path of the file. Undefined if the hub has it. */
  readonly path?: string;
}

/** Parses the value of an option: `NAME`, `NAME=FILE` or `FILE`. A file whose path looks like a name is written `./NAME`. */
export function parseTextReference(value: string): TextReference {
  const [, name, path] = /^([^=]*)(?:=(.+))?$/s.exec(value) ?? [];
  return isTextName(name) ? { name, path } : { path: value };
}

function isTextName(name: string | undefined): name is TextName {
  return (TEXT_NAMES as readonly (string | undefined)[]).includes(name);
}

/** A text whose file is on this machine. */
export interface TextFile {
  readonly path: string;
  /** The named text as which the file is read. Undefined for a `.txt` or `.jsonl` file. */
  readonly name?: TextName;
  /** The name of the text in reports: its name if it is a named text, and otherwise the name of the file. */
  readonly label: string;
}

/** A calibration text with its share of the windows. The shares of a run may have any sum. */
export interface SharedText extends TextFile {
  readonly share: number;
}

/** Parses the value of `--calibration`: a text, or `TEXT=SHARE` with a decimal number. The share is 1 if the value has none. */
export function parseSharedText(value: string): { readonly text: string; readonly share: number } {
  const [, text, share] = /^(.+)=(\d*\.?\d+)$/s.exec(value) ?? [];
  return text === undefined ? { text: value, share: 1 } : { text, share: Number(share) };
}

export interface RunTexts {
  readonly calibration: readonly SharedText[];
  readonly evaluation: readonly TextFile[];
}
