/** Chinese for the sentences with which the workbench refuses, by their shape; `$1` is what stands in the first bracket. */
export const zhErrors: readonly (readonly [string, string])[] = [
  ['(\\w+) must be a whole number from (\\S+) to (\\S+), not (.+)\\. Usual: (.+)', '$1 必须是 $2 到 $3 之间的整数，而不是 $4。常用：$5'],
  ['(\\w+) must be a whole number from (\\S+), not (.+)\\. Usual: (.+)', '$1 必须是不小于 $2 的整数，而不是 $3。常用：$4'],
  ['(\\w+) must be a number (?:above|from) (\\S+), not (.+)\\. Usual: (.+)', '$1 必须是不小于 $2 的数，而不是 $3。常用：$4'],
  ['(\\w+) must lie between (\\S+) and (\\S+), not (.+)\\. Usual: (.+)', '$1 必须在 $2 与 $3 之间，而不是 $4。常用：$5'],
  ['seed must lie below 2\\*\\*32, which NumPy can take, not (.+)', 'seed 必须小于 2**32（NumPy 的上限），而不是 $1'],
  ['beta must lie above 0: .*', 'beta 必须大于 0：否则没有什么能让模型留在起点附近'],
  ["(\\w+): (.+?) is not a whole number\\. .*", '$1：$2 不是整数'],
  ["(\\w+): (.+?) is not a number\\. .*", '$1：$2 不是数'],
  ["(\\w+): (.+?) is not true or false\\. .*", '$1：$2 不是 true 或 false'],
  ["(\\w+): (.+?) is not one of (.+?)\\.(?: Did you mean '(?:.+?)'\\?)?\\.? .*", '$1：$2 不在可选值之中：$3'],
  ["(.+) is not a ref\\. Write .*", '$1 不是有效的引用。请写作 kind:name 或 kind:name@version，例如 dataset:chat@3'],
  ['(\\w+) needs (\\w+): .*', '$1 缺少参数 $2'],
  ["(\\w+) has no parameter '?(.+?)'?\\. .*", '$1 没有参数 $2'],
  ["A recipe of (\\w+) has no field '(.+?)'\\..*", '$1 的训练配方没有字段 $2'],
  ["'(.+)' cannot be a (?:name|version or alias)\\. .*", '“$1”不能作为名称：请使用 1 到 128 个字母、汉字、数字或 . _ -，并以字母、汉字或数字开头'],
  ["'(.+)' is not a kind of version\\..*", '没有“$1”这种版本'],
  ['(\\w+): (\\S+) is a (\\w+), not a (.+?)\\.?', '$1：$2 是 $3，而这里需要 $4'],
  ['(\\S+) holds (.+), and (\\w+) takes (.+) \\((\\w+)\\), rows like (\\{.+\\})\\..*', '$1 的内容是 $2，而 $3 需要 $5 格式的行，例如 $6'],
  ['(\\S+) has (\\d+) rows?\\. Training needs at least 2.*', '$1 只有 $2 行。训练至少需要 2 行，要学到东西需要数百行'],
  ['(\\S+) is an adapter\\.?.*', '$1 是适配器，请先将其合并为完整权重'],
  ['(\\S+) cannot teach itself: .*', '$1 不能做自己的教师。请指定一个更大的模型'],
  ['micro_batch is (\\d+), and an optimiser step has (\\d+) rows\\..*', 'micro_batch 为 $1，而一个优化步只有 $2 行'],
  ["(\\w+) shares work between processes, and nproc is 1\\..*", '$1 在多个进程之间分担工作，而 nproc 为 1。请设为 2 或更大，或不填 parallel'],
  ["(\\S+) is not in this store\\.?.*", '存储中没有 $1'],
  ['There is no run (.+?)\\.?', '没有运行 $1'],
  ["There is no (?:verb|view) '(.+?)'\\..*", '没有名为 $1 的操作'],
  ['(.+) with method (\\w+), (\\d+) rows? of (\\d+) tokens at a time, needs about (.+?) of memory, and (.+) has (.+?) free\\..*', '$1（方法 $2，每次 $3 行、每行 $4 个词元）约需 $5 内存，而 $6 只有 $7 可用'],
  ['The loss is no longer a number at step (\\d+).*', '第 $1 步的损失不再是数值：训练发散。请使用更小的学习率']
];

/** An error in Chinese where its shape is known; else the English sentence, in a frame that says what to do with it. */
export function sorry(text: string): string {
  for (const [pattern, zh] of zhErrors) {
    const hit = new RegExp(`^${pattern}$`, 's').exec(text);
    if (hit) {
      return zh.replace(/\$(\d)/g, (_, n: string) => hit[Number(n)] ?? '');
    }
  }
  return /[\u3400-\u9fff]/.test(text) ? text : `未能完成，请按下面的说明修改后重试（原文为英文）：${text}`;
}

/** A whole error, as a run keeps it, in its sentence and the command that stands at its end. */
export function parted(text: string): { message: string; code: string; next: string } {
  const hit = /(?<=[.:]) (?:[^.:]|\.(?! ))*: ((?:llmops|pip install) [^\n]+)$/.exec(text);
  return { message: hit ? text.slice(0, hit.index) : text, code: 'failed', next: hit ? hit[1] : '' };
}
