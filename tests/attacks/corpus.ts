/** Reads the attack corpus, the hostile inputs in the folder `corpus`. Each file is a JSON array of cases about one subject. */

/** The parts that the cases of all subjects have in common. */
export interface AttackCase {
  /** A description of the input that completes the sentence "The reader refuses …". It is unique in its file. */
  readonly name: string;
}

const FOLDER = new URL("./corpus/", import.meta.url);

/** Reads the cases about `subject`, which is the name of their file without `.json`. */
export function readCorpus<Case extends AttackCase>(subject: string): readonly Case[] {
  return JSON.parse(Deno.readTextFileSync(new URL(`${subject}.json`, FOLDER)));
}
