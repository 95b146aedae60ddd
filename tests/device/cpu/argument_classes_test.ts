/** Tests the classes through which the twins of the cpu backend read their arguments. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { argumentClasses, className } from "../../../scripts/argument_classes.ts";
import { twinExports } from "../../../scripts/twin_exports.ts";
import { KERNELS } from "../../../src/device/kernels/kernels.ts";

const SOURCES = new URL("../../../src/device/cpu/assembly/", import.meta.url);

describe("argumentClasses()", () => {
  const [cgStep] = KERNELS.filter(({ name }) => name === "cg_step");
  const bindings = { a: "read", b: "read", c: "read_write" } as const,
    params = { n: "u32", s: "f32" } as const;
  const plain = { ...cgStep, name: "add_rows", bindings, params };

  it("lists the bindings, the parameters and the rounded operands in the order of the arguments", () => {
    assert.equal(
      argumentClasses([{ ...plain, rounded: { count: 2 } }]),
      "@unmanaged export class AddRowsArgs {\n  a: usize;\n  b: usize;\n  c: usize;\n  n: u32;\n  s: f32;\n" +
        "  a_rounded: usize;\n  b_rounded: usize;\n}\n",
    );
  });

  it("lists the copy of a rounded output last", () => {
    const [, text] = argumentClasses([{ ...plain, rounded: { count: 1 }, roundedOutput: ({ n }) => n }])
      .split("s: f32;");
    assert.equal(text, "\n  a_rounded: usize;\n  c_rounded: usize;\n}\n");
  });

  it("gives kernels with the same arguments one class, which a kernel with rounded operands extends", () => {
    const rounded = { ...plain, name: "product_nn", rounded: { count: 1 } };
    const classes = argumentClasses([plain, { ...plain, name: "add2d" }, rounded]).split("\n\n").slice(1);
    assert.deepEqual(classes, [
      "export type Add2dArgs = AddRowsArgs;",
      "@unmanaged export class ProductNnArgs extends AddRowsArgs {\n  a_rounded: usize;\n}\n",
    ]);
  });
});

it("each twin takes the class of its own kernel, or one that this class extends", async () => {
  const texts: string[] = [];
  for await (const { name } of Deno.readDir(SOURCES)) {
    if (!name.endsWith(".ts")) continue;
    const text = await Deno.readTextFile(new URL(name, SOURCES));
    texts.push(text, twinExports(name, text));
  }
  const source = texts.join("\n");
  const aliases = new Map(
    [...source.matchAll(/^export \{(.*)\}/gm)].flatMap(([, names]) =>
      [...names.matchAll(/(\w+) as (\w+)/g)].map(([, from, to]) => [to, from])
    ),
  );
  const bases = new Map(
    [...argumentClasses(KERNELS).matchAll(/export (?:type|class) (\w+) (?:=|extends) (\w+)/g)]
      .map(([, own, base]) => [own, base]),
  );
  for (const { name } of KERNELS) {
    const own = className(name), accepted = [own];
    for (let base = bases.get(own); base !== undefined; base = bases.get(base)) accepted.push(base);
    for (const twin of [name, `${name}_items`]) {
      let defined = twin;
      for (let from = aliases.get(twin); from !== undefined; from = aliases.get(from)) defined = from;
      const taken = [...source.matchAll(new RegExp(`function ${defined}\\(_?args: (\\w+)[,)]`, "g"))];
      assert.equal(taken.length, 1, `definitions of ${twin}`);
      assert.ok(accepted.includes(taken[0][1]), `${twin} takes ${taken[0][1]}, not ${accepted.join(" or ")}`);
    }
  }
});
