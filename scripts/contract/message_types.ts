/**
 * Writes the messages of the contract as types, and the checks (`zod/mini`) by which the SDK reads them, from the schemas by which servers
 * describe them. So neither the sources of the SDK nor its bundle have the schemas of the servers. The types are in a file of their own, because
 * the types of the npm package may not refer to zod, which its bundle contains. A check accepts members that a later
 * version of the contract may add. Of the texts, it examines only URLs, which must be http or https URLs.
 */

import { z } from "zod";
import { type ParameterText, parameterTexts } from "../../src/protocol/parameter_texts.ts";
import { SENT_FIELDS } from "../../src/protocol/run/run_options.ts";
import { SDK_TEXTS } from "../../src/protocol/resources/fields.ts";
import type { Operation } from "../../src/protocol/resources/operation.ts";

const RESOURCES = new URL("../../src/protocol/resources/", import.meta.url);

/** The names of types that have another name, or none, in the OpenAPI documents. */
const TYPE_NAMES: Readonly<Record<string, string>> = {
  "Host": "EdgeHost",
  "LayerState.error": "JobError",
  "Report.seconds": "ReportSeconds",
};

/** The end of the first comment of every written file. */
const ORIGIN = "`deno task generate` writes this file from the schemas in `src/protocol`.";

/** A type of a message: its text in TypeScript, and the text of its check. */
interface WrittenType {
  readonly type: string;
  readonly check: string;
}

/** The members of the definition of a schema that the types need. Each kind of schema has some of them. */
interface Definition {
  readonly type: string;
  readonly format?: string;
  readonly innerType?: z.ZodType;
  readonly element?: z.ZodType;
  readonly valueType?: z.ZodType;
  readonly out?: z.ZodType;
  readonly options?: readonly z.ZodType[];
  readonly shape?: Readonly<Record<string, z.ZodType>>;
  readonly entries?: Readonly<Record<string, string>>;
  readonly values?: readonly unknown[];
  readonly defaultValue?: unknown;
  readonly checks?: readonly { readonly _zod: { readonly def: { check: string; value?: unknown } } }[];
}

/** Returns the definition of `schema`. The type of zod has one class per kind of schema instead. */
function definitionOf(schema: z.ZodType): Definition {
  return schema.def as unknown as Definition;
}

/** Returns the description of a member, from its schema or from the schema inside of it. */
function descriptionOf(schema: z.ZodType): string | undefined {
  const { innerType, out } = definitionOf(schema), inner = innerType ?? out;
  return (SDK_TEXTS.get(schema) ?? schema.meta())?.description ?? (inner && descriptionOf(inner));
}

/** A source file, with the text that this version should have. */
interface GeneratedSource {
  readonly url: URL;
  readonly text: string;
}

/** Generates the types of the messages and of the parameters, and the checks of the SDK. */
export async function generateSources(): Promise<GeneratedSource[]> {
  const source = (path: string, text: string) => ({
    url: new URL(`../../src/${path}`, import.meta.url),
    text,
  });
  const messages = await writeMessages(), names = messages.keys();
  const types = messages.values().map(({ type }) => type),
    checks = messages.values().map(({ check }) => check);
  return [
    source(
      "protocol/messages.ts",
      await formatted(
        `/** The JSON answers of the contract as types. ${ORIGIN} */\n\n${[...types].join("\n")}`,
      ),
    ),
    source(
      "protocol/received.ts",
      await formatted(`/** The checks by which the SDK reads JSON answers. ${ORIGIN} */

import * as z from "zod/mini";
${importLine("import", ["list"], "../base/list.ts")}
${importLine("import type", [...names], "./messages.ts")}

${[...checks].join("\n")}`),
    ),
    source("protocol/layer_query.ts", await formatted(layerQueryType())),
    source("protocol/run/sent_run_options.ts", await formatted(sentOptionsType())),
    source("python/pare_llm/client/layer_query.py", pythonQueryType()),
    source("model/families/registry.ts", registry("families", ["dense/", "gpt/", "hybrid/", "mixtures/"])),
    source("model/formats/registry.ts", registry("formats", [""])),
  ];
}

function importLine(start: string, names: readonly string[], path: string): string {
  return `${start} { ${names.join(", ")} } from "${path}";`;
}

/** Returns the source that exports everything from the files in some folders of `src/model/SUBJECT`, such as `families`. */
function registry(subject: string, folders: readonly string[]): string {
  const files = folders.flatMap((folder) =>
    [...Deno.readDirSync(new URL(`../../src/model/${subject}/${folder}`, import.meta.url))]
      .map(({ name }) => `./${folder}${name}`).sort()
  ).filter((path) => path.endsWith(".ts") && !/(format|formats|registry)\.ts$/.test(path));
  return `/** Exports all ${subject}. \`deno task generate\` writes this file from the names of the files. */\n\n${
    files.map((file) => `export * from "${file}";\n`).join("")
  }`;
}

/** Writes the messages that operations answer as JSON, and the messages inside of them. */
async function writeMessages(): Promise<Map<string, WrittenType>> {
  const written = new Map<string, WrittenType>();
  for (const { name } of [...Deno.readDirSync(RESOURCES)].sort((a, b) => a.name < b.name ? -1 : 1)) {
    const module: Record<string, unknown> = await import(new URL(name, RESOURCES).href);
    for (const { responses } of Object.values(module).filter(isOperation)) {
      for (const { content } of Object.values(responses)) {
        const json = (content as { "application/json"?: { schema: z.ZodType } } | undefined)
          ?.["application/json"];
        if (json) writeType(json.schema, "", written);
      }
    }
  }
  return written;
}

/** Returns parameters as the members of a type. A request may leave out each of them. */
function typeMembers(texts: readonly ParameterText[]): string {
  return texts.map(({ name, type, choices, ...text }) => {
    const plain = type === "integer" ? "number" : name === "pattern" ? "PatternText" : type;
    const types = choices.map((choice) => JSON.stringify(choice));
    if (type !== "string" || choices.length === 0) types.push(plain);
    return `/** ${sentencesOf(text)} */\nreadonly ${name}?: ${types.join(" | ")};`;
  }).join("\n");
}

function layerQueryType(): string {
  return `/** The parameters of one layer as a type. ${ORIGIN} */

import type { PatternText } from "../tensor/pattern.ts";

/** The parameters of \`POST /v1/layers\`, by their names in the contract. The server fills in defaults for those that are absent. */
export interface LayerQuery {
${typeMembers(parameterTexts())}
}
`;
}

function sentOptionsType(): string {
  return `/** The options of a run that requests have, as a type. ${ORIGIN} */

/** The options of a run that \`POST /v1/blocks/prune\` has as parameters. */
export interface SentRunOptions {
${typeMembers(parameterTexts(z.object(SENT_FIELDS)))}
}
`;
}

/** The types of Python by the types of JSON. */
const PYTHON_TYPES = { string: "str", boolean: "bool", number: "float", integer: "int" };

/** The parameters of a layer that the function `prune_` of the Python package names in its signature. */
const MAIN_PARAMETERS = ["method", "sparsity", "pattern", "bits", "group_size"];

/** Returns the parameters of a layer as types of Python. The statistics that `hessian` names are an argument of their own there. */
function pythonQueryType(): string {
  const texts = parameterTexts().filter(({ name }) => name !== "hessian");
  const { main, others } = Object.groupBy(
    texts,
    ({ name }) => MAIN_PARAMETERS.includes(name) ? "main" : "others",
  );
  const literal = (choices: readonly string[]) =>
    `Literal[${choices.map((choice) => JSON.stringify(choice)).join(", ")}]`;
  const members = (of: ParameterText[] = []) =>
    of.map(({ name, type, choices, ...text }) => {
      const types = [
        ...choices.length > 0 ? [name === "method" ? "Method" : literal(choices)] : [],
        ...type !== "string" || choices.length === 0 ? [PYTHON_TYPES[type]] : [],
      ];
      const lines = sentencesOf(text).match(/.{1,100}(?= |$)/g)!.map((line) => `    ${line.trim()}`);
      return `    ${name}: ${types.join(" | ")}\n    """${lines.join("\n").trimStart()}"""`;
    }).join("\n");
  return `"""The parameters of one layer as a type.

${ORIGIN}
"""

from typing import Literal, TypedDict

Method = ${literal(texts.find(({ name }) => name === "method")!.choices)}
"""The solver of a layer."""


class OtherLayerParameters(TypedDict, total=False):
    """The parameters of \`LayerQuery\` that \`prune_\` does not name in its signature."""

${members(others)}


class LayerQuery(OtherLayerParameters, total=False):
    """The parameters of \`POST /v1/layers\`, by their names in the contract."""

${members(main)}
`;
}

function sentencesOf(
  { description, range, preset }: Pick<ParameterText, "description" | "range" | "preset">,
): string {
  const facts = [description, range && `Accepts ${range}`, preset && `Defaults to ${preset}`];
  return facts.filter((fact) => fact !== undefined).map((fact) => `${fact}.`).join(" ");
}

function isOperation(value: unknown): value is Operation {
  return typeof value === "object" && value !== null && "operationId" in value;
}

/**
 * Returns the type of a schema. Messages with a name are added to `written`.
 * @param place the place of the schema in a message, `MESSAGE.MEMBER`
 */
function writeType(schema: z.ZodType, place: string, written: Map<string, WrittenType>): WrittenType {
  const { id } = schema.meta() ?? {}, name = TYPE_NAMES[id ?? place] ?? id;
  const { type, shape = {}, ...definition } = definitionOf(schema);
  const inner = (part: z.ZodType | undefined) => writeType(part!, place, written);
  switch (type) {
    case "string":
      return { type, check: definition.format === "url" ? "z.url({ protocol: /^https?$/ })" : "z.string()" };
    case "number": {
      const least = definition.checks?.map(({ _zod: { def } }) => def).find(({ check }) =>
        check === "greater_than"
      );
      const check = definition.format === "safeint" ? "z.int()" : "z.number()";
      return { type, check: least ? `${check}.check(z.minimum(${least.value}))` : check };
    }
    case "null":
    case "boolean":
      return { type, check: `z.${type}()` };
    case "literal":
    case "enum": {
      const values = (definition.values ?? Object.values(definition.entries!)).map((value) =>
        JSON.stringify(value)
      );
      return { type: values.join(" | "), check: `z.${type}([${values.join(", ")}])` };
    }
    case "nullable": {
      const { type, check } = inner(definition.innerType);
      return { type: `${type} | null`, check: `z.nullable(${check})` };
    }
    case "optional": {
      const { type, check } = inner(definition.innerType);
      return { type, check: `z.optional(${check})` };
    }
    case "default": {
      const { type, check } = inner(definition.innerType), value = JSON.stringify(definition.defaultValue);
      return { type, check: `z._default(${check}, ${value.startsWith("[") ? `() => ${value}` : value})` };
    }
    case "pipe":
      return inner(definition.out);
    case "array": {
      const { type, check } = inner(definition.element);
      return { type: `${type}[]`, check: `list(${check})` };
    }
    case "record": {
      const { type, check } = inner(definition.valueType);
      return { type: `Readonly<Record<string, ${type}>>`, check: `z.record(z.string(), ${check})` };
    }
    case "union": {
      const options = definition.options!.map(inner), type = options.map(({ type }) => type).join(" | ");
      if (options.length === 2 && options[1].type === "null") {
        return { type, check: `z.nullable(${options[0].check})` };
      }
      return { type, check: `z.union([${options.map(({ check }) => check).join(", ")}])` };
    }
    case "object": {
      const members = Object.entries(shape).map(([member, part]) => {
        const text = descriptionOf(part),
          { type, check } = writeType(part, `${name ?? place}.${member}`, written);
        const sign = definitionOf(part).type === "optional" ? "?" : "";
        return {
          type: `${text ? `/** ${text}. */\n` : ""}readonly ${member}${sign}: ${type};`,
          check: `${member}: ${check}`,
        };
      });
      const types = members.map(({ type }) => type).join("\n");
      const check = `z.object({ ${members.map(({ check }) => check).join(", ")} })`;
      if (name === undefined) return { type: `{ ${types} }`, check };
      written.set(name, {
        type: `/** ${descriptionOf(schema)}. */\nexport interface ${name} {\n${types}\n}\n`,
        check: `export const received${name}: z.ZodMiniType<${name}> = ${check};\n`,
      });
      return { type: name, check: `received${name}` };
    }
  }
  throw new TypeError(`a schema of the type ${type} cannot be written`);
}

/** Formats TypeScript as `deno fmt` does. */
async function formatted(code: string): Promise<string> {
  const process = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--ext", "ts", "-"],
    cwd: new URL("../../", import.meta.url),
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  return new TextDecoder().decode((await process.output()).stdout);
}
