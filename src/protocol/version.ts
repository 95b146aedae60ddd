/** The version that host, edge and client tell of themselves: `deno.json`'s, which a test compares. */
export const VERSION = "0.1.0";
