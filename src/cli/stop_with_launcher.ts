/** Stops the command if its launcher was killed. A killed launcher cannot signal the command, which would then run on with nobody to stop it. */

import { LAUNCHER_VARIABLE } from "./environment.ts";

const CHECK_MS = 1000;

/** Calls `stop` once when the launcher of this process has ended. Does nothing if no launcher started this process. */
export function stopWithLauncher(stop: () => void): void {
  const { state } = Deno.permissions.querySync({ name: "env", variable: LAUNCHER_VARIABLE });
  if (state !== "granted" || Deno.env.get(LAUNCHER_VARIABLE) !== String(Deno.ppid)) return;
  const launcher = Deno.ppid;
  const timer = setInterval(() => {
    if (Deno.ppid === launcher) return;
    clearInterval(timer);
    stop();
  }, CHECK_MS);
  Deno.unrefTimer(timer);
}
