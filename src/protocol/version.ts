/** The version of host, edge and client. A test compares it with the one in `deno.json`. */
export const VERSION = "0.1.0";
