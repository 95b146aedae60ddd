/**
 * `deno task build [docs|npm]`: builds the WebAssembly modules and the bundles of the pages, and with an argument the script
 * of the pages at `/docs`, or the npm packages. A part that is up to date is not built again.
 */

const PARTS: Readonly<Record<string, readonly string[]>> = {
  docs: ["build_docs.ts"],
  npm: ["build_docs.ts", "packages/main.ts"],
};

const [part] = Deno.args;
if (part !== undefined && !Object.hasOwn(PARTS, part)) {
  console.error(`build ${part}: the parts are ${Object.keys(PARTS).join(" and ")}`);
  Deno.exit(2);
}
for (const script of ["build_wasm.ts", "build_pages.ts", ...(part ? PARTS[part] : [])]) {
  await import(new URL(script, import.meta.url).href);
}
