// The API, as openapi.json describes it; served beside this page.

/** An answer that is a problem (RFC 9457), or no answer at all. */
export class ApiError extends Error {
  constructor(detail, code) {
    super(detail);
    this.code = code;
  }
}

async function ask(path, init) {
  let answer;
  try {
    answer = await fetch(path, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("the server does not answer: is it still running?", "unreachable");
  }
  // a proxy on the way may answer with a page of its own
  const body = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError(`the answer is no JSON (status ${answer.status})`, "no_json");
  });
  if (!answer.ok) throw new ApiError(body.detail, body.code);
  return body;
}

/** The models that the server has (name, version, parameters, and which is the default), and its other defaults. */
export function offered() {
  return ask("v1/models");
}

/** Where a photo goes with these options. */
export function target(options) {
  return `v1/detect?${new URLSearchParams(options)}`;
}

/** The faces of a photo (a Blob), in pixels of the upright photo. */
export function detect(photo, options, signal) {
  return ask(target(options), {
    method: "POST",
    // which format it is, is told by its content
    headers: { "Content-Type": "application/octet-stream" },
    body: photo,
    signal,
  });
}
