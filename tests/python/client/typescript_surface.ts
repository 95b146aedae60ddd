/**
 * Prints the public surface of the TypeScript SDK as JSON, for the test that compares the Python client with it. The names and the
 * defaults come from the declarations (`deno doc`), and the members of the schemas come from the schemas.
 */

import { fileURLToPath } from "node:url";
import { heartbeatSchema } from "../../../src/protocol/resources/hosts.ts";
import { jobSchema } from "../../../src/protocol/resources/jobs.ts";
import { parameterTexts } from "../../../src/protocol/parameter_texts.ts";
import { layerQuerySchema } from "../../../src/protocol/parameters.ts";
import { PROBLEMS } from "../../../src/protocol/problem_codes.ts";
import { reportSchema } from "../../../src/protocol/resources/layers.ts";

/** A member of a class or an interface, as `deno doc --json` describes it. */
interface Member {
  readonly name: string;
  readonly jsDoc?: { readonly doc?: string };
}

/** An exported name, as `deno doc --json` describes it. */
interface Symbol {
  readonly name: string;
  readonly declarations: readonly {
    readonly kind: string;
    readonly def: { readonly methods?: readonly Member[]; readonly properties?: readonly Member[] };
  }[];
}

const MOD = fileURLToPath(new URL("../../../src/client/mod.ts", import.meta.url));

const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["doc", "--json", MOD] }).output();
const { nodes } = JSON.parse(new TextDecoder().decode(stdout));
const [{ symbols }] = Object.values(nodes) as { symbols: readonly Symbol[] }[];

const byKind = (kind: string) => symbols.filter(({ declarations }) => declarations[0].kind === kind);
const membersOf = (list: "methods" | "properties", kind: string) =>
  Object.fromEntries(byKind(kind).map(({ name, declarations }) => [name, declarations[0].def[list] ?? []]));
const defaultOf = ({ jsDoc }: Member) => /@default (.*)/s.exec(jsDoc?.doc ?? "")?.[1] ?? null;
const mapValues = <A, B>(record: Record<string, A>, change: (value: A) => B) =>
  Object.fromEntries(Object.entries(record).map(([name, value]) => [name, change(value)]));

console.log(JSON.stringify({
  /** The exported classes and functions. */
  exports: [...byKind("class"), ...byKind("function")].map(({ name }) => name),
  /** The public methods of each class. */
  methods: mapValues(
    membersOf("methods", "class"),
    (methods) => methods.map(({ name }) => name).filter((name) => !name.startsWith("#")),
  ),
  /** The options of each interface, with the text of their `@default`, or null. */
  options: mapValues(
    membersOf("properties", "interface"),
    (properties) => Object.fromEntries(properties.map((property) => [property.name, defaultOf(property)])),
  ),
  layerQuery: Object.keys(layerQuerySchema.shape),
  /** The allowed values of each parameter that has a list of them. */
  layerQueryChoices: Object.fromEntries(
    parameterTexts().flatMap(({ name, choices }) => choices.length > 0 ? [[name, choices]] : []),
  ),
  report: Object.keys(reportSchema.shape),
  reportSeconds: Object.keys(reportSchema.shape.seconds.shape),
  job: Object.keys(jobSchema.shape),
  jobLayer: Object.keys(jobSchema.shape.layers.element.shape),
  host: Object.keys(heartbeatSchema.shape),
  statuses: mapValues(PROBLEMS, ({ status }) => status),
}));
