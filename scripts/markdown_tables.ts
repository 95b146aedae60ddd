/**
 * Renders tables into Markdown pages. A table stands between the lines `<!-- table: NAME -->` and `<!-- end -->`. Everything between these
 * lines is replaced.
 */

const TABLE = /(<!-- table: ([\w/ ]+) -->)[\s\S]*?(<!-- end -->)/g;

/** Returns the text of `page` with all its tables rendered. `render` is called with the name of each table. */
export async function renderTables(
  page: URL,
  render: (name: string) => string | Promise<string>,
): Promise<string> {
  const text = await Deno.readTextFile(page);
  const rendered = new Map<string, string>();
  for (const [, , name] of text.matchAll(TABLE)) rendered.set(name, await render(name));
  return text.replace(TABLE, (_, begin, name, end) => `${begin}\n\n${rendered.get(name)}\n\n${end}`);
}

/** Writes a page and formats it. */
export async function writePage(page: URL, text: string): Promise<void> {
  await Deno.writeTextFile(page, text);
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", page.pathname] }).output();
}
