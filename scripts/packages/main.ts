/** `deno task build:npm`: builds the npm packages, each in a folder of its name in build/npm/. */

import { buildCommandPackage } from "./command/build_command_package.ts";

await buildCommandPackage();
