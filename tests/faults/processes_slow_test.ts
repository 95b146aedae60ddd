/**
 * Causes some faults of every kind that starts other processes: kills, stop signals, and the restart of an
 * edge. `deno task bench faults` causes more, and RELIABILITY.md has its figures.
 */

import { describe } from "@std/testing/bdd";
import { KINDS } from "../../scripts/faults/kinds.ts";
import { testFaults } from "./test_faults.ts";

const SKIP = Deno.build.os === "windows" && "Windows has no signals";

describe(
  "after a fault of a process",
  { skip: SKIP },
  () => testFaults(KINDS.filter(({ processes }) => processes)),
);
