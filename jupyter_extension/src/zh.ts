/** Chinese, by the English sentence. */
export const zh: { [text: string]: string } = {};
