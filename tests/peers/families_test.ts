/**
 * Compares every family with transformers. The families are in one file, because its tests share one Python process, and importing
 * transformers takes longer than a comparison.
 */

import { FAMILY_MODELS } from "../../scripts/fixtures/family_models.ts";
import { type FamilyModels, withDefaults } from "../../scripts/fixtures/model_settings.ts";
import { compareFamily, type Models } from "./random_family.ts";

const DEFAULTS = "with a config.json that leaves the defaults out";

function modelsOf(all: FamilyModels["shapes"], dtype?: FamilyModels["dtype"]): Models {
  return Object.fromEntries(
    Object.entries(all ?? {}).map(([title, settings]) => [title, { settings, dtype }]),
  );
}

for (const [family, models] of Object.entries<FamilyModels>(FAMILY_MODELS)) {
  const { base, variants, dtype, shapes, compared, defaults, insensitive } = models;
  const further = {
    ...modelsOf(shapes),
    ...defaults && { [DEFAULTS]: { settings: defaults, rewrite: withDefaults } },
    ...compared,
  };
  await compareFamily(family, base, further, { stored: modelsOf(variants, dtype), insensitive });
}
