/** The parameters of a layer as documents and help texts describe them, read from the schema. */

import { z } from "zod";
import type { LayerQuery } from "./layer_query.ts";
import { layerQuerySchema } from "./parameters.ts";

export interface ParameterText {
  readonly name: keyof LayerQuery;
  readonly description: string;
  readonly type: "string" | "boolean" | "number" | "integer";
  /** The accepted texts. Empty if any text is accepted. A number may also accept a text, such as `auto`. */
  readonly choices: readonly string[];
  /** The accepted numbers, such as `0 to 256`. */
  readonly range?: string;
  /** The default, unless it depends on other parameters. */
  readonly preset?: string;
}

export function parameterTexts(): ParameterText[] {
  const { properties = {} } = z.toJSONSchema(layerQuerySchema, { io: "output" });
  return Object.entries(properties).map(([name, property]) => {
    const { anyOf = [], ...whole } = property as z.core.JSONSchema.Schema;
    // A parameter that is a word or a number has both in `anyOf`, the number last.
    const { description = "", type, enum: values = [], minimum, ...schema }: z.core.JSONSchema.Schema = Object
      .assign({}, ...anyOf, whole);
    const { maximum = `below ${schema.exclusiveMaximum}` } = schema;
    return {
      name: name as keyof LayerQuery,
      description,
      type: type as ParameterText["type"],
      choices: values.map(String),
      range: minimum === undefined ? undefined : `${minimum} to ${maximum}`,
      preset: schema.default === undefined ? undefined : String(schema.default),
    };
  });
}

export function parameterTable(): string {
  const rows = parameterTexts().map(({ name, description, type, choices, range, preset = "" }) => {
    const texts = type === "boolean" ? ["true", "false"] : choices;
    const values = [...texts.map((text) => `\`${text}\``), ...range ? [range] : []].join(", ");
    return `| \`${name}\` | ${values} | ${preset && `\`${preset}\``} | ${description} |`;
  });
  return ["| parameter | values | default | meaning |", "| --- | --- | --- | --- |", ...rows].join("\n");
}
