/**
 * Causes some faults of every kind that needs no other process. `deno task bench faults` causes more, and
 * RELIABILITY.md has its figures.
 */

import { describe } from "@std/testing/bdd";
import { KINDS } from "../../scripts/faults/kinds.ts";
import { testFaults } from "./test_faults.ts";

describe("after a fault", () => testFaults(KINDS.filter(({ processes }) => !processes)));
