import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { z } from "zod";
import { layerQuerySchema } from "../../src/protocol/parameters.ts";
import { hostUrlSchema } from "../../src/protocol/resources/hosts.ts";
import { invalidParameters } from "../../src/protocol/refusal.ts";

const detailOf = (schema: z.ZodType, input: unknown) =>
  invalidParameters(schema.safeParse(input).error!, input).message;

describe("the refusal of a request names the parameter, the rule and the value", () => {
  const rule = "must be a fraction from 0 to below 1, where 50 % is 0.5";
  for (
    const [given, detail] of [
      [{ sparsity: "50" }, `sparsity: ${rule}, got 50`],
      [{ sparsity: "" }, `sparsity: ${rule}, got an empty text`],
      [{ sparsity: "x".repeat(81) }, `sparsity: ${rule}, got ${"x".repeat(80)}…`],
      [{ sparsity: {} }, `sparsity: ${rule}`],
      [{ damping: "2" }, "damping: must be auto or a number from 0 to 1, got 2"],
      [{ symmetric: 1, bits: 4 }, "symmetric: must be true or false, got 1"],
      [{ pattern: "4" }, 'pattern: pattern "4": must be "unstructured", "columns" or "n:m", such as 2:4'],
      [{ effort: "best", method: "obc" }, "effort: best needs method alps, and the method is obc"],
      [{ sparsty: 0.5 }, "sparsty: is not a parameter"],
    ] as const
  ) {
    it(`for ${JSON.stringify(given).slice(0, 40)}`, () => {
      assert.equal(detailOf(layerQuerySchema, given), detail);
    });
  }

  it("for a member of a list, and for a missing one", () => {
    const schema = z.object({ layers: z.array(z.object({ kind: z.enum(["a"], "must be a") })) });
    assert.equal(
      detailOf(schema, { layers: [{ kind: "a" }, { kind: "b" }] }),
      "layers.1.kind: must be a, got b",
    );
    assert.equal(detailOf(schema, { layers: [{}] }), "layers.0.kind: must be a, got nothing");
    assert.equal(detailOf(schema, {}), "layers: Invalid input: expected array, received undefined");
  });

  it("but quotes no URL, which may have a password", () => {
    const schema = z.object({ url: hostUrlSchema });
    for (
      const url of ["ftp://user:secret@host", "http://user:secret@host", `http://host/${"x".repeat(2048)}`]
    ) {
      assert.doesNotMatch(detailOf(schema, { url }), /secret|xxx/);
    }
  });
});
