/** Tests how settings of config.json become keys of GGUF. `tests/peers/gguf_test.ts` compares the logits of llama.cpp. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { FAMILY_MODELS } from "../../../scripts/fixtures/family_models.ts";
import { MODEL_TYPES, readModelSpec } from "../../../src/model/families/families.ts";
import { findArchitecture } from "../../../src/model/gguf/architecture.ts";
import { describeNetwork } from "../../../src/model/gguf/metadata.ts";

it("describeNetwork() writes the factor of the queries of Ministral 3, and no factor if it is 0", () => {
  const key = "mistral3.attention.temperature_scale";
  const factorOf = (beta: number) => {
    const config = {
      ...FAMILY_MODELS.ministral3.base,
      rope_parameters: {
        ...{ rope_type: "yarn", rope_theta: 100, factor: 4, original_max_position_embeddings: 8 },
        llama_4_scaling_beta: beta,
      },
    };
    const spec = readModelSpec(config, () => true);
    return new Map(describeNetwork(config, spec, findArchitecture(config)).entries).get(key)?.value;
  };
  assert.equal(Math.fround(Number(factorOf(0.25))), 0.25);
  assert.equal(factorOf(0), undefined);
});

it("findArchitecture() refuses OPT and multimodal models by their names", () => {
  for (const model_type of ["opt", ...MODEL_TYPES.multimodal]) {
    assert.throws(() => findArchitecture({ model_type }), {
      name: "ModelError",
      message: new RegExp(
        `model_type "${model_type}" cannot be exported to GGUF; the types that can are: arcee, `,
      ),
    });
  }
});
