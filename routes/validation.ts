/** How failed validation is told, which the edge shares: `src/protocol/invalid_parameters.ts`. */

export { invalidParameters } from "../src/protocol/invalid_parameters.ts";
