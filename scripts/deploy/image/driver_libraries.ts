/**
 * Finds out whether an image has the libraries that NVIDIA's Vulkan driver needs. The driver itself comes from Debian's section
 * non-free and is unpacked into a copy of the image, at the place where the NVIDIA container runtime mounts the driver.
 */

import { DEFAULT_PATH, run } from "./commands.ts";
import { type ReplayedImage, runInside } from "./replay.ts";

/** Debian's packages of the driver's libraries that Vulkan loads. */
const PACKAGES = [
  "libglx-nvidia0",
  "libegl-nvidia0",
  "libnvidia-allocator1",
  "libnvidia-eglcore",
  "libnvidia-glcore",
  "libnvidia-glvkspirv",
  "libnvidia-gpucomp",
  "libnvidia-rtcore",
  "nvidia-vulkan-icd",
] as const;

/** Libraries that the driver opens by name only when it draws to a window, which a host never does. */
const FOR_WINDOWS = /^lib(xcb|X11-xcb|drm|wayland|GL\.|GLX\.|dbus|fontconfig|freetype)/;

/** The library that Vulkan loads first. */
const ENTRY = "libGLX_nvidia.so.0";

/** The libraries that the driver needs, and those that an image lacks. */
export interface DriverLibraries {
  /** The version of the driver. */
  readonly version: string;
  /** The libraries of the driver. */
  readonly driver: readonly string[];
  /** The libraries of the image that they need, directly or through other libraries. */
  readonly needed: readonly string[];
  /** The needed libraries that the image lacks. */
  readonly missing: readonly string[];
  /** Whether the image has libEGL, which the driver opens by name when there is no screen. */
  readonly hasEgl: boolean;
  /** Libraries that the driver opens by name for windows only, and that the image leaves out. */
  readonly leftOut: readonly string[];
  /** The errors of the Vulkan loader about libraries that it cannot open when Deno asks for an adapter. */
  readonly loaderErrors: readonly string[];
  /** The same errors after libXext was removed. The list shows that the check can fail. */
  readonly loaderErrorsWithoutXext: readonly string[];
}

/** Unpacks the driver into a copy of the image in the new folder `root`, and resolves its libraries. */
export async function checkDriverLibraries(image: ReplayedImage, root: string): Promise<DriverLibraries> {
  await run(["cp", "-a", image.root, root]);
  await runInside(
    image.buildRoot,
    `sed 's/ main$/ non-free/' /etc/apt/sources.list > /etc/apt/sources.list.d/driver.list && apt-get update && ` +
      `mkdir /driver && cd /driver && apt-get download ${PACKAGES.join(" ")}`,
  );
  const packages = await Array.fromAsync(Deno.readDir(`${image.buildRoot}/driver`));
  for (const { name } of packages) {
    await run(["dpkg-deb", "--extract", `${image.buildRoot}/driver/${name}`, root]);
  }
  const libraries = `${root}/usr/lib/x86_64-linux-gnu`;
  // Debian has the entry library in a folder of its own, from which its system of alternatives links it.
  await run([
    "sh",
    "-c",
    'find "$1" -path "*/nvidia/*" -name "lib*.so*" -exec cp -a {} "$1" ";"',
    "sh",
    libraries,
  ]);
  const names = (await Array.fromAsync(Deno.readDir(libraries))).map(({ name }) => name);
  const driver = names.filter((name) => /nvidia.*\.so\.\d+\.\d+/i.test(name)).toSorted();
  const needed = new Set<string>(), missing = new Set<string>();
  for (const library of driver) {
    for (const [name, found] of await resolveLibraries(root, library)) {
      if (!/nvidia/i.test(name)) needed.add(name);
      if (!found) missing.add(name);
    }
  }
  const opened = await openedByName(`${libraries}/${ENTRY}`);
  const leftOut = opened.filter((name) => FOR_WINDOWS.test(name) && !names.includes(name));
  const loaderErrors = await loadDriver(root);
  await run(["sh", "-c", 'rm "$1"/libXext.so.6*', "sh", libraries]);
  return {
    version: /\d+(\.\d+)+/.exec(packages[0].name)![0],
    driver,
    needed: [...needed].toSorted(),
    missing: [...missing].toSorted(),
    hasEgl: names.includes("libEGL.so.1"),
    leftOut,
    loaderErrors,
    loaderErrorsWithoutXext: await loadDriver(root),
  };
}

/** Runs `ldd` in `root`. Returns for each library, directly needed or not, whether it was found. */
async function resolveLibraries(root: string, library: string): Promise<Map<string, boolean>> {
  const output = await run(["chroot", root, "ldd", `/usr/lib/x86_64-linux-gnu/${library}`]);
  const lines = output.matchAll(/^\s*(\S+) => (not found|\S+)/gm);
  return new Map([...lines].map(([, name, path]) => [name, path !== "not found"]));
}

/**
 * Lets Deno ask for a WebGPU adapter with NVIDIA's driver alone, and returns the errors of the Vulkan loader about libraries. The
 * driver is loaded even on a machine without a GPU. It then offers no device.
 */
async function loadDriver(root: string): Promise<string[]> {
  const manifest = { file_format_version: "1.0.1", ICD: { library_path: ENTRY, api_version: "1.3.277" } };
  await Deno.writeTextFile(`${root}/driver.json`, JSON.stringify(manifest));
  const request = "console.log(await navigator.gpu.requestAdapter())";
  const output = await run(["chroot", root, "sh", "-c", `deno eval "${request}" 2>&1`], {
    env: {
      PATH: DEFAULT_PATH,
      VK_DRIVER_FILES: "/driver.json",
      VK_LOADER_DEBUG: "error,driver",
    },
  });
  if (!output.includes(ENTRY)) throw new Error(`the Vulkan loader did not try to load ${ENTRY}:\n${output}`);
  return [...new Set(output.match(/lib\S+: cannot open shared object file/g))];
}

/** Returns the names of libraries among the texts in a library. It opens these by name while it runs. */
async function openedByName(path: string): Promise<string[]> {
  const text = new TextDecoder("latin1").decode(await Deno.readFile(path));
  return [...new Set(text.match(/(?<=\0)lib[\w+-]+\.so(\.\d+)?(?=\0)/g))].toSorted();
}
