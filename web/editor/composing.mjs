/**
 * Whether a key in a field is for the input method. Safari ends the composition before it tells of the Enter or Escape
 * that did so (WebKit 165004); only the old code says whose key that was.
 */
export const isComposing = (event) => event.isComposing || event.keyCode === 229;
