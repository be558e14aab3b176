// The words of the check that a sale or a new account may ask for: who is not asked does
// not load them. Strict JSON, as in words.js.
export default {
  "zh-CN": {
    "pass.heading": "开抢前先验证",
    "pass.hint": "这场秒杀需要先完成验证，开抢前做好，开抢时就不用等。",
    "pass.account": "注册前先验证",
    "pass.account_hint": "请先完成验证，再创建账号。",
    "pass.start": "开始验证",
    "pass.loading": "正在读取验证…",
    "pass.working": "正在后台验证，请稍候，可以继续浏览本页。",
    "pass.progress": "验证进度",
    "pass.solve": "请看图算出结果。",
    "pass.formula": "算式的结果",
    "pass.hear": "听到的四位数字",
    "pass.picture": "写着一道算式的图片；看不清可以换一张，看不见可以听数字",
    "pass.sound": "四位数字的录音",
    "pass.submit": "确定",
    "pass.another": "换一张图片",
    "pass.listen": "改为听数字",
    "pass.empty": "请先填写结果。",
    "pass.wrong": "答案不对或已过期，请再试一次。",
    "pass.sending": "正在提交…",
    "pass.early": "还没到验证时间，临近开抢时再来。"
  },
  "en": {
    "pass.heading": "Check in before the opening",
    "pass.hint": "This sale asks for a short check. Do it now, and there is nothing to wait for when it opens.",
    "pass.account": "One check before your account",
    "pass.account_hint": "Please finish the check first.",
    "pass.start": "Start the check",
    "pass.loading": "Loading the check…",
    "pass.working": "Checking in the background. You can go on reading.",
    "pass.progress": "Progress of the check",
    "pass.solve": "Work out what the picture says.",
    "pass.formula": "The result",
    "pass.hear": "The four digits you hear",
    "pass.picture": "A picture of a sum. Ask for another one if it is hard to read, or listen to digits instead",
    "pass.sound": "A recording of four digits",
    "pass.submit": "Confirm",
    "pass.another": "Another picture",
    "pass.listen": "Listen instead",
    "pass.empty": "Please fill in the result.",
    "pass.wrong": "That was not right, or too late. Here is another one.",
    "pass.sending": "Sending…",
    "pass.early": "It is too early for the check. Come back closer to the opening."
  }
}
