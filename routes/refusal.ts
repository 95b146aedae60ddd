/** The refusal of the HTTP layer, which the edge shares: `src/protocol/refusal.ts`. */

export { Refusal, type RefusalOptions } from "../src/protocol/refusal.ts";
