// Layouts that a person keeps, as files among ComfyUI's own data of that person: user/<name>/instance_composer/layouts.
import { api } from "../../../scripts/api.js";
import { fileName, nameOfFile } from "../lib/file_names.mjs";

const FOLDER = "instance_composer/layouts";
const ENDING = ".json";

const path = (file, more = "") => `/userdata/${encodeURIComponent(`${FOLDER}/${file}`)}${more}`;

/** An answer of the server; throws where there is none, and for what it refuses. */
async function ask(route, options = {}, expected = []) {
  const answer = await api.fetchApi(route, options);
  if (!answer.ok && !expected.includes(answer.status)) throw new Error(`HTTP ${answer.status}`);
  return answer;
}

/**
 * Names of what is kept, the newest first. All data of the person are asked for: a folder that is not there yet would
 * be an error in the console. @returns {Promise<string[]>}
 */
export async function listKept() {
  const entries = await (await ask("/v2/userdata")).json();
  const inside = (one) => one.type === "file" && one.path === `${FOLDER}/${one.name}`;
  return entries
    .filter((one) => inside(one) && one.name.endsWith(ENDING))
    .sort((one, other) => other.modified - one.modified)
    .map(({ name }) => nameOfFile(name.slice(0, -ENDING.length)));
}

/** The text of a kept layout. */
export const readKept = async (name) => (await ask(path(fileName(name) + ENDING))).text();

/**
 * Keep a text under a name: written beside its place and moved there, so that the file is there whole or not at all.
 * False where the name is taken and `replace` is not set.
 */
export async function keep(name, text, replace = false) {
  const file = fileName(name) + ENDING;
  const part = `part-${crypto.randomUUID?.() ?? Date.now()}`;
  await ask(path(part), { method: "POST", body: text });
  const moved = await ask(
    path(part, `/move/${encodeURIComponent(`${FOLDER}/${file}`)}?overwrite=${replace}`),
    { method: "POST" },
    [409],
  );
  if (moved.status !== 409) return true;
  await ask(path(part), { method: "DELETE" });
  return false;
}

export const removeKept = (name) => ask(path(fileName(name) + ENDING), { method: "DELETE" });
