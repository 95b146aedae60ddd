/** Tests which permissions a command line gets. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { commandAccess, permissionFlags } from "../../../src/cli/permissions/permission_flags.ts";

/** The folders that exist. Everything else is missing. */
const EXISTING = ["/", "/home", "/home/ann", "/data", "/data/ann", "/data/cache"];

/** The real paths of links, and of what lies below them. */
const LINKS: Readonly<Record<string, string>> = {
  "/home/ann/scratch": "/data/ann",
  "/home/ann/opt": "/data/models/opt",
  "/home/ann/hf": "/data/cache",
  "/home/ann/cached": "/data/hub/models--a--b/snapshots/123",
  "/etc/pare/keys": "/etc/pare/..2026_11_28_07_30_00.123/keys",
};

function around(env: Record<string, string> = {}) {
  return {
    cwd: "/home/ann",
    env,
    libraries: ["/lib/openblas.so", "/lib/mkl.so"],
    dawn: {
      folder: "/pare/node_modules/webgpu",
      realFolder: "/store/webgpu",
      addon: "/store/webgpu/dawn.node",
    },
    realPath: (path: string) => EXISTING.includes(path) ? path : LINKS[path],
  };
}

/** Returns the read, write and net permissions of a command line, whose words are separated by spaces. */
function accessOf(line: string, env: Record<string, string> = {}) {
  const { read, write, net } = commandAccess(line.split(" "), around(env));
  return { read, write, net };
}

describe("commandAccess()", () => {
  it("lets prune read the model and the texts, write the output, and connect to nothing", () => {
    const line =
      "prune model --out pruned --sparsity 0.5 --json --calibration c.txt --text=/data/a.txt --text b.txt";
    assert.deepEqual(accessOf(line), {
      read: ["/home/ann/model", "/home/ann/pruned", "/home/ann/c.txt", "/data/a.txt", "/home/ann/b.txt"],
      write: ["/home/ann/pruned"],
      net: [],
    });
  });

  it("grants the outermost missing folder of an output, because the command creates it", () => {
    assert.deepEqual(accessOf("unpack m --out /data/new/runs/1").write, ["/data/new"]);
  });

  it("grants the real paths of links, and of what lies below them", () => {
    const { read, write } = accessOf("prune opt --calibration scratch/c.txt --out scratch/new/run");
    assert.deepEqual(read, [
      "/home/ann/opt",
      "/data/models/opt",
      "/home/ann/scratch/new",
      "/data/ann/new",
      "/home/ann/scratch/c.txt",
      "/data/ann/c.txt",
    ]);
    assert.deepEqual(write, ["/home/ann/scratch/new", "/data/ann/new"]);
    assert.deepEqual(
      accessOf("layer l --out scratch/o.st").write.filter((path) => path.startsWith("/data")),
      [
        "/data/ann/o.st",
        "/data/ann/o.st.partial",
        "/data/ann/.pare-probe",
      ],
    );
    assert.deepEqual(accessOf("verify cached").read, ["/home/ann/cached", "/data/hub/models--a--b"]);
    assert.deepEqual(accessOf("verify m --allow-read scratch").read.slice(1), [
      "/home/ann/scratch",
      "/data/ann",
    ]);
    assert.deepEqual(accessOf("eval hf:a/b", { HF_HUB_CACHE: "hf" }).write, [
      "/home/ann/hf/models--a--b",
      "/data/cache/models--a--b",
      "/home/ann/hf/.locks",
      "/data/cache/.locks",
    ]);
  });

  it("lets a host read keys that Kubernetes mounts and replaces while the host runs", () => {
    assert.deepEqual(accessOf("serve --keys-file /etc/pare/keys").read, [
      "/etc/pare/keys",
      "/etc/pare/..2026_11_28_07_30_00.123/keys",
      "/etc/pare",
    ]);
  });

  it("connects to the server that the option or the environment names, and not to the one that was overridden", () => {
    const layer = "layer l.safetensors --out o.safetensors";
    assert.deepEqual(accessOf(`${layer} --server http://gpu-1:8000`).net, ["gpu-1:8000"]);
    assert.deepEqual(accessOf(layer, { PARE_SERVER: "https://edge.example" }).net, ["edge.example:443"]);
    assert.deepEqual(accessOf(`${layer} --server local`, { PARE_SERVER: "https://edge.example" }).net, []);
    assert.deepEqual(accessOf("jobs list", { PARE_SERVER: "http://[::1]:87" }).net, ["[::1]:87"]);
  });

  it("writes a file under its own name, its temporary name and the name of the probe only", () => {
    assert.deepEqual(accessOf("layer l.safetensors --out o.st").write, [
      "/home/ann/o.st",
      "/home/ann/o.st.partial",
      "/home/ann/.pare-probe",
    ]);
    assert.deepEqual(accessOf("report run").write, [
      "/home/ann/run/report.html",
      "/home/ann/run/report.html.partial",
      "/home/ann/run/.pare-probe",
    ]);
    assert.deepEqual(accessOf("export m --format gguf:q4_0 --out o.gguf").write, [
      "/home/ann/o.gguf",
      "/home/ann/o.gguf.partial",
      "/home/ann/.pare-probe",
    ]);
  });

  it("downloads the named texts that a command uses, and reads the files that stand for them", () => {
    const folder = (
      name: string,
    ) => [`/data/hf/hub/datasets--${name}`, `/data/hf/hub/.locks/datasets--${name}`];
    const c4 = folder("allenai--c4"), wikitext = folder("Salesforce--wikitext");
    const env = { HF_HOME: "/data/hf" };
    const named = accessOf("prune model --out out --calibration c4", env);
    assert.deepEqual(named.read.filter((path) => path.startsWith("/data")), c4);
    assert.ok(named.net.includes("*.hf.co"));
    const protocol = accessOf("prune model --out out --protocol sparsegpt", env);
    assert.deepEqual(protocol.read.filter((path) => path.startsWith("/data")), [...c4, ...wikitext]);
    const file = accessOf("sweep model --calibration c4=c4.json.gz --text wikitext2=/data/test.parquet", env);
    assert.deepEqual(file.read.filter((path) => /c4|test/.test(path)), [
      "/home/ann/c4.json.gz",
      "/data/test.parquet",
    ]);
    assert.deepEqual(file.net, []);
  });

  it("downloads a model of the hub to the folder of this model in the cache", () => {
    const env = { HF_HOME: "/data/hf" };
    assert.deepEqual(accessOf("eval hf:facebook/opt-125m --text t.txt", env), {
      read: [
        "/data/hf/hub/models--facebook--opt-125m",
        "/data/hf/hub/.locks/models--facebook--opt-125m",
        "/home/ann/t.txt",
      ],
      write: ["/data/hf"],
      net: ["*.huggingface.co", "*.hf.co"],
    });
    const mirror = { ...env, HF_ENDPOINT: "http://mirror:99" };
    assert.deepEqual(accessOf("eval hf:a/b", mirror).net, ["mirror:99"]);
    assert.deepEqual(accessOf("eval hf:../b", env), { read: [], write: [], net: [] });
  });

  it("reads the folder that push uploads, and connects to the hub and to its storage of large files", () => {
    const { read, write, net } = accessOf("push run me/model --private");
    assert.deepEqual([read, write], [["/home/ann/run"], []]);
    assert.deepEqual(net.slice(0, 2), ["*.huggingface.co", "*.hf.co"]);
    assert.ok(
      net.slice(2).length > 0 && net.slice(2).every((host) => /^hf-hub-lfs-.*\.amazonaws\.com$/.test(host)),
    );
    assert.deepEqual(accessOf("push run me/model", { HF_ENDPOINT: "http://mirror:99" }).net, ["mirror:99"]);
    assert.ok(commandAccess(["push", "run", "me/model"], around()).env.includes("HF_TOKEN"));
  });

  it("reads the folder to which the files of a cached commit are links", () => {
    const cached = "/data/hub/models--a--b/snapshots/123";
    assert.deepEqual(accessOf(`verify ${cached}`).read, ["/data/hub/models--a--b"]);
  });

  it("lets a host listen on its address, and connect to its edge and to the blob store of the edge", () => {
    assert.deepEqual(accessOf("serve"), { read: [], write: [], net: ["127.0.0.1:8000"] });
    const env = { PARE_EDGE: "https://edge.example", PARE_BLOB_ORIGINS: "https://b.example, http://c:9000" };
    assert.deepEqual(accessOf("serve", { PORT: "9" }).net, ["127.0.0.1:9"]);
    assert.deepEqual(accessOf("serve --host 0.0.0.0 --port 9", env).net, [
      "edge.example:443",
      "127.0.0.1:9",
      "0.0.0.0:9",
      "b.example:443",
      "c:9000",
    ]);
  });

  it("lets a host read the file of its keys, which the option or the variable names", () => {
    assert.deepEqual(accessOf("serve --keys-file keys").read, ["/home/ann/keys"]);
    assert.deepEqual(accessOf("serve", { PARE_KEYS_FILE: "/run/keys" }).read, ["/run/keys"]);
  });

  it("lets a host read and write the folder of hidden states", () => {
    const { read, write } = accessOf("serve --states /var/states");
    assert.deepEqual([read, write], [["/var"], ["/var"]]);
  });

  it("loads the library that --products or its variable names, and those in the usual places by default", () => {
    const libraries = (line: string, env?: Record<string, string>) =>
      commandAccess(line.split(" "), around(env)).ffi;
    const usual = ["/lib/openblas.so", "/lib/mkl.so"];
    assert.deepEqual(libraries("layer l --out o"), usual);
    assert.deepEqual(libraries("layer l --out o --products own", { PARE_PRODUCTS: "auto" }), []);
    assert.deepEqual(libraries("layer l --out o", { PARE_PRODUCTS: "own" }), []);
    assert.deepEqual(libraries("serve --products lib/libblis.so"), ["/home/ann/lib/libblis.so"]);
    assert.deepEqual(libraries("verify out"), []);
  });

  it("loads the addon of Dawn if --webgpu or its variable names Dawn, and reads its package", () => {
    const access = (line: string, env?: Record<string, string>) => {
      const { read, ffi } = commandAccess(line.split(" "), around({ PARE_PRODUCTS: "own", ...env }));
      return { read, ffi };
    };
    const granted = {
      read: ["/pare/node_modules/webgpu", "/store/webgpu"],
      ffi: ["/store/webgpu/dawn.node"],
    };
    assert.deepEqual(access("serve --webgpu dawn"), granted);
    assert.deepEqual(access("serve", { PARE_WEBGPU: "dawn" }), granted);
    for (const line of ["prune", "eval", "sweep", "layer", "serve"]) {
      assert.deepEqual(access(`${line} --webgpu=dawn`).ffi, granted.ffi, line);
    }
    assert.deepEqual(access("serve --webgpu deno", { PARE_WEBGPU: "dawn" }), { read: [], ffi: [] });
    assert.deepEqual(access("serve"), { read: [], ffi: [] });
    const missing = commandAccess(["serve", "--webgpu", "dawn"], {
      ...around({ PARE_PRODUCTS: "own" }),
      dawn: undefined,
    });
    assert.deepEqual([missing.read, missing.ffi], [[], []]);
  });

  it("adds what --allow-read, --allow-write and --allow-net name", () => {
    const line = "verify m --allow-read /data/blobs --allow-write x --allow-net cdn.example --allow-net b:1";
    assert.deepEqual(accessOf(line), {
      read: ["/home/ann/m", "/data/blobs"],
      write: ["/home/ann/x"],
      net: ["cdn.example", "b:1"],
    });
  });

  it("grants nothing to an unknown command, and nothing for the help", () => {
    for (const line of ["train /etc --out /", "--help", "prune --help", ""]) {
      assert.deepEqual(accessOf(line), { read: [], write: [], net: [] }, line);
    }
  });

  it("names single environment variables, and those of the hub only if a model of the hub is used", () => {
    const { env } = commandAccess(["prune", "model"], around());
    assert.ok(env.includes("PARE_API_KEY"));
    assert.ok(!env.includes("HF_TOKEN") && !env.includes("PARE_KEYS"));
    assert.ok(commandAccess(["prune", "hf:a/b"], around({ HOME: "/home/ann" })).env.includes("HF_TOKEN"));
  });
});

describe("permissionFlags()", () => {
  it("writes commas in paths twice, and leaves out what is empty", () => {
    const flags = permissionFlags(["verify", "a,b"], ["/pare/dist"], around());
    assert.equal(flags[0], "--allow-read=/pare/dist,/home/ann/a,,b");
    assert.deepEqual(flags.map((flag) => flag.split("=")[0]), ["--allow-read", "--allow-env"]);
  });
});
