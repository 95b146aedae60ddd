/** Writes, in AssemblyScript, the functions NAME and NAME_items of the twins whose work items are rows or elements. */

/** The function of such a twin: its kernel, the kind of its items, and the class of its arguments. */
const RANGE_TWIN = /^export function (\w+)_(rows|elements)\(args: (\w+), \w+: u32, \w+: u32\)/gm;

/**
 * Returns the part of the entry point for the file `name` with the text `source`: the exports of its functions. For a
 * twin `NAME_rows(args, first, end)`, the part also has the functions that split `args.rows` into items of about
 * `ELEMENTS_PER_ITEM` elements, and for `NAME_elements(args, first, count)` those that split `args.count`.
 */
export function twinExports(name: string, source: string): string {
  const from = `"./${name.slice(0, -3)}"`, size = `per_item_of_${name.slice(0, -3)}`;
  const twins = [...source.matchAll(RANGE_TWIN)];
  if (twins.length === 0) return `export * from ${from};`;
  const exported = [...source.matchAll(/^export function (\w+)/gm)].map(([, found]) => found);
  const ranges = twins.map(([, kernel, unit]) => `${kernel}_${unit}`);
  const others = exported.filter((found) => !ranges.includes(found));
  return [
    `import { ${[...ranges, `ELEMENTS_PER_ITEM as ${size}`].join(", ")} } from ${from};`,
    `import { ${twins.map(([, , , type]) => type).join(", ")} } from "./args";`,
    ...others.length > 0 ? [`export { ${others.join(", ")} } from ${from};`] : [],
    ...twins.map(([, kernel, unit, type]) =>
      unit === "rows"
        ? `export function ${kernel}_items(args: ${type}): u32 { return row_items(args.rows, args.cols, ${size}); }
export function ${kernel}(args: ${type}, item: u32): void {
  const step = rows_per_item(args.cols, ${size}), first = item * step;
  ${kernel}_rows(args, first, min<u32>(args.rows, first + step));
}`
        : `export function ${kernel}_items(args: ${type}): u32 { return ceil_divide(args.count, ${size}); }
export function ${kernel}(args: ${type}, item: u32): void {
  const first = item * ${size};
  ${kernel}_elements(args, first, min<u32>(${size}, args.count - first));
}`
    ),
  ].join("\n");
}
