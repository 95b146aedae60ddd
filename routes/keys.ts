/** Keys of `PARE_KEYS`, which the edge shares: `src/protocol/keys.ts`. */

export { findKey, type Key, parseKeys, type Scope, SCOPES } from "../src/protocol/keys.ts";
