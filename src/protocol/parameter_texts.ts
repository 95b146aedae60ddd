/** Parameters as documents and help texts describe them, read from their schemas. */

import { z } from "zod";
import { layerQuerySchema } from "./parameters.ts";

export interface ParameterText {
  readonly name: string;
  readonly description: string;
  readonly type: "string" | "boolean" | "number" | "integer";
  /** The accepted texts. Empty if any text is accepted. A number may also accept a text, such as `auto`. */
  readonly choices: readonly string[];
  /** The accepted numbers, such as `0 to 256`. */
  readonly range?: string;
  /** The default, unless it depends on other parameters. */
  readonly preset?: string;
}

/** Describes the parameters of a schema, by default the parameters of a layer. */
export function parameterTexts(schema: z.ZodType = layerQuerySchema): ParameterText[] {
  const { properties = {} } = z.toJSONSchema(schema, { io: "output" });
  return Object.entries(properties).map(([name, property]) => {
    const { anyOf = [], ...whole } = property as z.core.JSONSchema.Schema;
    // A parameter that is a word or a number has both in `anyOf`, the number last.
    const { description = "", type, enum: values = [], minimum, ...schema }: z.core.JSONSchema.Schema = Object
      .assign({}, ...anyOf, whole);
    const { maximum = `below ${schema.exclusiveMaximum}` } = schema;
    return {
      name,
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
