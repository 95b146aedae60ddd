/**
 * Tests that the structure check refuses planted faults. `deno task check` runs it on the tree. A room is a folder
 * of `src`, or `routes`, `scripts`, `tests` or `shaders`. An arrow says that one room may import another.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { arrowProblems } from "../../../scripts/structure/arrows.ts";
import { cycleProblems } from "../../../scripts/structure/cycles.ts";
import { folderProblems } from "../../../scripts/structure/folders.ts";
import type { SourceFile } from "../../../scripts/structure/imports.ts";
import { kernelProblems } from "../../../scripts/structure/kernels.ts";
import { placeProblems } from "../../../scripts/structure/places.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";

function sourceFiles(imports: Readonly<Record<string, readonly string[]>>): Map<string, SourceFile> {
  return new Map(
    Object.entries(imports).map(([path, imported]) => [
      path,
      { path, imports: imported, libraries: [], code: "" },
    ]),
  );
}

describe("deno task structure", () => {
  it("refuses an import that no arrow allows", () => {
    const files = sourceFiles({
      "src/layer/linalg/gemm.ts": ["src/layer/solvers/solver.ts"],
      "src/layer/solvers/solver.ts": [],
      "src/host/device.ts": ["src/client/pare.ts"],
    });
    assert.deepEqual(arrowProblems(files), [
      "src/layer/linalg/gemm.ts: no arrow leads from src/layer/linalg to src/layer/solvers/solver.ts",
      "src/host/device.ts: no arrow leads from src/host to src/client/pare.ts",
    ]);
  });

  it("refuses a folder of src without arrows", () => {
    assert.match(
      arrowProblems(sourceFiles({ "src/misc/a.ts": [] }))[0],
      /src\/misc\/a.ts: its folder has no arrows/,
    );
  });

  it("refuses files that import each other in a circle", () => {
    const files = sourceFiles({
      "src/tensor/a.ts": ["src/tensor/b.ts"],
      "src/tensor/b.ts": ["src/tensor/c.ts"],
      "src/tensor/c.ts": ["src/tensor/a.ts"],
    });
    assert.deepEqual(cycleProblems(files), [
      "import cycle: src/tensor/a.ts → src/tensor/b.ts → src/tensor/c.ts → src/tensor/a.ts",
    ]);
  });

  it("refuses hono and the Deno global outside their folders", () => {
    const files = new Map([["src/layer/a.ts", {
      path: "src/layer/a.ts",
      imports: [],
      libraries: ["hono"],
      code: "Deno.exit()",
    }]]);
    assert.equal(placeProblems(files).length, 2);
  });

  it("refuses a kernel that lacks a file, and a shader without a declaration", () =>
    withTemporaryFolder(async (root) => {
      const paths = [
        "src/device/kernels/scale.ts",
        "shaders/scale.wgsl",
        "shaders/orphan.wgsl",
        "src/device/cpu/assembly/scale.ts",
        "tests/reference/kernels/scale.ts",
        "tests/device/kernels/unused",
      ];
      for (const path of paths) {
        await Deno.mkdir(`${root}/${path.slice(0, path.lastIndexOf("/"))}`, { recursive: true });
        await Deno.writeTextFile(
          `${root}/${path}`,
          path.startsWith("src/device/kernels") ? "defineKernel({" : "",
        );
      }
      assert.deepEqual(await kernelProblems(root), [
        "shaders/orphan.wgsl: src/device/kernels has no declaration of this name",
        "tests/device/kernels: has no test of scale.ts",
      ]);
    }));

  it("refuses a folder with more than 20 files, and a room of more than ten files without a README", () =>
    withTemporaryFolder(async (root) => {
      for (const folder of ["src/big", "routes", "scripts"]) {
        await Deno.mkdir(`${root}/${folder}`, { recursive: true });
      }
      for (let i = 0; i < 21; i++) await Deno.writeTextFile(`${root}/src/big/${i}.ts`, "");
      assert.deepEqual(await folderProblems(root), [
        "src/big: has 21 files, but at most 20 are allowed",
        "src/big: has 21 files and no README.md",
      ]);
    }));
});
