/**
 * Renders tables into Markdown pages. A table stands between the lines `<!-- table: NAME -->` and `<!-- end -->`. Everything between these
 * lines is replaced.
 */

/** Functions that render tables as Markdown, by the names that the pages use. */
export type Tables = Readonly<Record<string, () => string | Promise<string>>>;

const TABLE = /(<!-- table: (\w+) -->)[\s\S]*?(<!-- end -->)/g;

/**
 * Returns the text of `page` with all its tables rendered.
 * @throws {Error} if the page names an unknown table
 */
export async function renderTables(page: URL, tables: Tables): Promise<string> {
  const text = await Deno.readTextFile(page);
  const rendered = new Map<string, string>();
  for (const [, , name] of text.matchAll(TABLE)) {
    if (!Object.hasOwn(tables, name)) throw new Error(`${page.pathname}: there is no table ${name}`);
    rendered.set(name, await tables[name]());
  }
  return text.replace(TABLE, (_, begin, name, end) => `${begin}\n\n${rendered.get(name)}\n\n${end}`);
}

/** Writes a page and formats it. */
export async function writePage(page: URL, text: string): Promise<void> {
  await Deno.writeTextFile(page, text);
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", page.pathname] }).output();
}
