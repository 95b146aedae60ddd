import { Command } from "commander";
export function jobsCommand(_signal: AbortSignal): Command {
  return new Command("jobs").description("list, show and cancel the jobs of an edge");
}
