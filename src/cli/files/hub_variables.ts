/** The environment variables that determine how models of the hub are downloaded, and to which folder. They are those of Hugging Face's own tools. */
export const HUB_VARIABLES = [
  "HF_ENDPOINT",
  "HF_HOME",
  "HF_HUB_CACHE",
  "HF_HUB_OFFLINE",
  "HF_TOKEN",
  "HOME",
  "HUGGINGFACE_HUB_CACHE",
  "USERPROFILE",
  "XDG_CACHE_HOME",
] as const;
