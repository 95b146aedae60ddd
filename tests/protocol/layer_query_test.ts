/** Tests that LayerQuery, the hand-written type of a layer's parameters, agrees with the schema that validates them. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { type LayerQuery, layerSearchParams } from "../../src/protocol/layer_query.ts";
import { layerQuerySchema, type ParsedLayerQuery } from "../../src/protocol/parameters.ts";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends (<T>() => T extends B ? 1 : 2) ? true : false;
type Flat<T> = { readonly [name in keyof T]?: T[name] };

/** Compiles only if the two types are equal. */
const typesAreEqual: Equal<Flat<LayerQuery>, Flat<ParsedLayerQuery>> = true;

it("LayerQuery has the names and types of the schema", () => {
  assert.ok(typesAreEqual);
});

it("layerSearchParams() omits undefined parameters, and the schema parses its result", () => {
  const query: LayerQuery = { method: "magnitude", pattern: "2:4", error: false, blocksize: undefined };
  const params = layerSearchParams(query);
  assert.equal(params.toString(), "method=magnitude&pattern=2%3A4&error=false");
  const { method, pattern, error } = layerQuerySchema.parse(Object.fromEntries(params));
  assert.deepEqual({ method, pattern, error }, { method: "magnitude", pattern: "2:4", error: false });
});
