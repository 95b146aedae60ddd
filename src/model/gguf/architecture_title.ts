/** Returns the words for an architecture in messages. @param name its name in llama.cpp */
export function titleOf(name: string): string {
  return `the architecture ${name} of llama.cpp`;
}
