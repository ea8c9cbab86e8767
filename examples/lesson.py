# %% [markdown]
# # Fine-tuning, step by step · 微调，一步一步来
#
# This lesson follows the chapter "Fine-Tuning" of *Dive into Deep Learning* (d2l.ai): a network that has seen
# a million photographs learns a new question from a few hundred pictures. Here the question is whether a
# solar cell is broken. Each step is a call of headstart's Python interface.
#
# 本课沿着《动手学深度学习》（d2l.ai）“微调”一章的思路：一个看过上百万张照片的网络，
# 只用几百张图片就能学会回答一个新问题。这里的问题是：这块太阳能电池片坏了吗？
# 每一步都是对 headstart Python 接口的一次调用。
#
#     pip install "headstart[demo]"
#     python examples/lesson.py                  # the solar cells 太阳能电池片
#     python examples/lesson.py PHOTOS           # your own folder 你自己的图片文件夹
#     python examples/lesson.py hotdog           # the chapter's hot dogs, downloaded 下载书中的热狗数据集
#     python examples/lesson.py --quick          # a minute, to see it run 一分钟走一遍
#
# In VS Code or with jupytext this file opens as a notebook. Without a GPU one training takes a few
# minutes, and the whole lesson, exercises included, about half an hour on two cores.
#
# 用 VS Code 或 jupytext 打开，本文件就是一个笔记本。没有 GPU 时，一次训练需几分钟；
# 连同练习，全课在双核机器上约需半小时。

# %%
import argparse
import sys
from pathlib import Path

import torch

import headstart
from headstart import console, demo
from headstart.data.dataset import load_dataset
from headstart.errors import ModelError
from headstart.evaluation.plots import show_live
from headstart.model import zoo
from headstart.model.forward import predict_probabilities
from headstart.model.imagenet import UnknownClassError, class_index, class_names
from headstart.model.transfer import freeze, groups_text, parameter_groups, transfer

parser = argparse.ArgumentParser(description="The lesson of fine-tuning, with headstart.")
parser.add_argument("data", nargs="?", help="folder of pictures, or the name of a set such as hotdog")
parser.add_argument("--quick", action="store_true", help="few small pictures, one epoch: does it run?")
parser.add_argument("--output", type=Path, default=Path("lesson"), help="folder for pictures and runs")
options = parser.parse_args([] if "ipykernel" in sys.modules else None)

QUICK = options.quick
OUTPUT = options.output
PER_CLASS = 24 if QUICK else 800  # of the solar cells · 每类电池片的张数
SIZE = 48 if QUICK else 160  # pixels; the chapter's 224 take twice as long · 像素；书中为 224，耗时约两倍
EPOCHS = 1 if QUICK else 5


def look(picture: Path) -> None:
    """A notebook shows the picture; a script says where it lies."""
    if not show_live(picture):
        print(f"picture: {picture}")


# %% [markdown]
# ## 1. The pictures · 图片
#
# A data set with a name is fetched once; its checksum is verified before anything is unpacked. A folder needs
# one subfolder per class, inside `train/` and `test/` or without them. The solar cells come with the package
# `elpv-dataset`; their licence is printed below and does not allow commercial use.
#
# 有名字的数据集只下载一次，校验和无误之后才解压。自己的文件夹：每个类别一个子文件夹，
# 可以放在 `train/` 和 `test/` 里，也可以不分。太阳能电池片来自 `elpv-dataset` 包；许可证见下方输出，
# 不得用于商业用途。

# %%
if options.data is None:
    print(demo.LICENCE)
    data = demo.cells(per_class=PER_CLASS)  # (path, label, split) of each picture
    title = "solar cells"
else:
    data = options.data if Path(options.data).is_dir() else headstart.fetch(options.data)
    title = Path(data).name

# %% [markdown]
# ## 2. The source model · 源模型
#
# ResNet-18 as torchvision trained it on ImageNet. Its weights are downloaded at the first use. Where that is
# not possible, EfficientNet-Lite0 takes its place, which is installed with headstart. The last layer, the
# *head*, turns features into one number for each of ImageNet's 1,000 classes.
#
# torchvision 在 ImageNet 上训练好的 ResNet-18，首次使用时下载权重。无法下载时，
# 改用随 headstart 一起安装的 EfficientNet-Lite0。最后一层称为*头*（head）：
# 它把特征变成 1,000 个 ImageNet 类别各自的得分。

# %%
MODEL = "torchvision/resnet18"
try:
    source = zoo.create(MODEL)
except ModelError as error:
    if error.code != "HS-MODEL-003":  # anything but "cannot be fetched"
        raise
    print(error)
    MODEL = "efficientnet-lite0"
    source = zoo.create(MODEL)
    print(f"The lesson goes on with {MODEL}. 改用 {MODEL} 继续。")

print(f"source model: {MODEL}, output layer: {source.head}")

# %% [markdown]
# ## 3. A look at the pictures · 看一看图片
#
# The first eight pictures of the first class and the last eight of the last one. Then some of each class as
# the network gets them. In training: a random part of the picture, resized, perhaps mirrored, new in every
# epoch. In testing: resized, then the centre, without chance. Both are standardised with the mean and
# deviation that the source model was trained with.
#
# 先看第一类的前八张和最后一类的后八张；再看网络实际得到的样子。训练时：随机裁一块，缩放，可能左右翻转，
# 每个轮次都不同。测试时：缩放后取正中，没有随机性。两者都用源模型训练时的均值和标准差做标准化。

# %%
lesson = {"model": MODEL, "recipe": "d2l", "img_size": SIZE}  # the chapter's settings · 书中的设置
for page in headstart.show(data, OUTPUT / "pictures", name=title, **lesson):
    look(page)

preprocess = zoo.preprocess(MODEL, SIZE, fit="squash")
print(f"input {SIZE} x {SIZE}, mean {preprocess.mean}, std {preprocess.std}")

# %% [markdown]
# ## 4. The target model · 目标模型
#
# Everything is copied but the head. The new head has one row per class and starts from Xavier-uniform random
# numbers. What was copied is nearly right and should move little; what is new must move far. So the head's
# learning rate is ten times that of the rest.
#
# 除了头，全部照搬。新的头每个类别一行，用 Xavier 均匀分布随机初始化。照搬来的部分已经差不多对了，
# 只需小步调整；新的部分要走的路长。所以头的学习率是其余部分的十倍。

# %%
dataset, pictures = load_dataset(data, preprocess=preprocess, selection=0)
print(dataset.tree())

target = transfer(source, dataset.classes, seed=0)
copied = source.backbone.state_dict()
equal = all(torch.equal(tensor, copied[name]) for name, tensor in target.backbone.state_dict().items())
print(f"target model: output layer {target.head}; everything else equal to the source: {equal}")

groups = parameter_groups(target, lr_backbone=5e-5, lr_head=5e-4, weight_decay=1e-3, decay_1d=True)
print(groups_text(groups))

# %% [markdown]
# ## 5. A sum, not a mean · 是求和，不是求平均
#
# A detail that decides everything when the chapter is rebuilt elsewhere: it *sums* the loss over the batch.
# A learning rate of 5e-5 on a sum over 128 pictures is the same step as 128 × 5e-5 = 6.4e-3 on their mean.
# Whoever averages, as most code does, and keeps 5e-5, takes steps 128 times too small and learns next to
# nothing. A smaller last batch takes a smaller step by itself.
#
# 把这一章搬到别处时，有个细节决定成败：书中的损失是在整个批量上*求和*。对 128 张图片之和用 5e-5，
# 等同于对平均值用 128 × 5e-5 = 6.4e-3。如果像多数代码那样取平均，又照抄 5e-5，步子就小了 128 倍，
# 几乎学不到东西。最后那个较小的批量，步子也自然小一些。

# %%
features = torch.randn(128, target.num_features, generator=torch.Generator().manual_seed(0))
labels = torch.arange(128) % len(dataset.classes)
steps = {}
for reduction, rate in (("sum", 5e-5), ("mean", 128 * 5e-5)):
    loss = torch.nn.functional.cross_entropy(target.head(features), labels, reduction=reduction)
    (gradient,) = torch.autograd.grad(loss, target.head.weight)
    steps[reduction] = rate * gradient
    print(f"{rate:g} x gradient of the {reduction}: length {steps[reduction].norm():.6f}")
print(f"the same step: {torch.allclose(steps['sum'], steps['mean'], rtol=1e-4, atol=1e-8)}")

# %% [markdown]
# ## 6. Fine-tuning · 微调
#
# One call. The recipe `d2l` is the chapter's: plain SGD, batches of 128, no schedule, all training pictures,
# the last epoch is kept. The test accuracy of each epoch is shown, but nothing is chosen by it. The plan is
# printed before the first step; curves, tables and the model land in the run's folder. A GPU is used without
# being asked for.
#
# 只需一次调用。配方 `d2l` 就是书中的做法：普通 SGD，批量 128，学习率不变，用上全部训练图片，
# 保留最后一个轮次。每个轮次都显示测试精度，但不据此做任何选择。训练前先打印计划；
# 曲线、表格和模型都存进这次运行的文件夹。有 GPU 时自动使用。

# %%
runs = OUTPUT / "runs"
tuned = headstart.train(data, **lesson, epochs=EPOCHS, output=runs, name="fine-tuned")
look(tuned.path / "curves.png")

# %% [markdown]
# ## 7. For comparison: from scratch · 对照：从零开始
#
# The same network, the same pictures, but random weights, and the chapter's learning rate for them: 5e-4 for
# all parameters. `strategy` is the only word that changes.
#
# 同样的网络，同样的图片，但权重随机；学习率也按书中的设置，所有参数都是 5e-4。只需改 `strategy` 一个词。

# %%
scratch = headstart.train(data, **lesson, strategy="scratch", epochs=EPOCHS, output=runs, name="from-scratch")
look(scratch.path / "curves.png")

# %% [markdown]
# ## 8. How sure is the result? · 结果有多可靠？
#
# An accuracy is a count of right answers on so many pictures, so it comes with an interval. Two models that
# answered the same pictures are compared picture by picture: those that only one of them got right decide.
# (The chapter's 0.939 against 0.843 on 800 pictures: 0.920 to 0.954 against 0.816 to 0.867.)
#
# 精度就是在若干张图片上答对的比例，所以要带上区间。两个模型回答的是同样的图片，就逐张比较：
# 只有一方答对的那些图片决定胜负。（书中 800 张图片上的 0.939 与 0.843：
# 区间分别是 0.920 至 0.954 与 0.816 至 0.867。）


# %%
def accuracies(*finished: headstart.Run) -> str:
    """One line per run, each with its interval and the number of pictures."""
    rows = [
        (run.path.name, f"{run.accuracy:.3f}", "{:.3f} to {:.3f}".format(*run.interval), run.metrics["n"])
        for run in finished
    ]
    return console.table(("run", "test accuracy", "95 % interval", "pictures"), rows)


def verdict(first: headstart.Run, second: headstart.Run) -> str:
    """Two runs on the same pictures, in words."""
    with console.quiet():  # the figures of each were printed after its training
        pair = headstart.evaluate(first, second)["comparison"]["differences"][0]
    low, high = (100 * limit for limit in pair["interval_95"])
    a, b = Path(pair["a"]).name, Path(pair["b"]).name
    words = f"{a} - {b}: {100 * pair['difference']:+.1f} points ({low:+.1f} to {high:+.1f}, n = {pair['n']})"
    return f"{words}, {'distinguishable' if pair['distinguishable'] else 'these pictures cannot tell'}"


print(accuracies(tuned, scratch))
print(f"result: {verdict(tuned, scratch)}")

# %% [markdown]
# ## 9. Beyond the chapter: headstart's own recipe · 更进一步：headstart 的默认配方
#
# Without `recipe="d2l"`, headstart first fits a linear *probe*: the head alone, on the features of the frozen
# network, within seconds. From that head it fine-tunes the top of the network, on activations that were
# computed once, and keeps the best epoch by pictures that were set aside for it; by the same pictures, it
# never ends below its probe. Solar cells have no up and no down, so views may be turned: `dihedral`.
#
# 不写 `recipe="d2l"` 时，headstart 先拟合一个线性*探针*（probe）：网络不动，只在其特征上训练头，
# 几秒钟完成。然后从这个头出发，在只算一次的激活值上微调网络顶部，并用事先留出的图片挑选最好的轮次；
# 就这些图片而言，结果不会差于探针。电池片不分上下，可以旋转：写 `dihedral` 即可。

# %%
suited = {"augment": "dihedral", "fit": "pad"} if options.data is None else {}
short = {"epochs": 1} if QUICK else {}
default = headstart.train(data, model=MODEL, img_size=SIZE, **suited, **short, output=runs, name="default")
print(accuracies(default, tuned))
print(f"result: {verdict(default, tuned)}")

# %% [markdown]
# Using it takes two lines. 用起来只要两行。

# %%
model = headstart.load(default.path)
for answer in model.predict([str(dataset.file(int(i))) for i in dataset.indices("test", "val")[:3]]):
    print(f"{Path(answer.path).name}: {answer.prediction} ({answer.confidence:.2f})")

# %% [markdown]
# ## Exercise 1: a higher learning rate · 练习 1：提高学习率
#
# How far can the rate be raised before it does harm? Mind the trap: whoever picks the best of these by the
# test pictures has used them up; the winner's figure is then too good.
#
# 学习率能提高到什么程度才开始有害？当心一个陷阱：若按测试图片来挑最好的学习率，测试集就“用掉”了，
# 胜者的数字会偏高。

# %%
raised = [tuned]
for factor in (16,) if QUICK else (4, 16, 64):
    try:
        raised.append(
            headstart.train(
                data, **lesson, lr=factor * 5e-5, epochs=EPOCHS, output=runs, name=f"rate-times-{factor}"
            )
        )
    except headstart.HeadstartError as error:
        print(f"rate times {factor}: {error.what}")  # the loss grew beyond all numbers · 损失发散
print(accuracies(*raised))

# %% [markdown]
# ## Exercise 2: train both for longer · 练习 2：两个模型都多训练一会儿
#
# Does the network from scratch catch up? 从零开始的网络追得上吗？

# %%
longer = {"epochs": 2 * EPOCHS, "output": runs}
tuned_longer = headstart.train(data, **lesson, **longer, name="fine-tuned-longer")
scratch_longer = headstart.train(data, **lesson, **longer, strategy="scratch", name="from-scratch-longer")
print(accuracies(tuned, tuned_longer, scratch, scratch_longer))
print(f"result: {verdict(tuned_longer, scratch_longer)}")

# %% [markdown]
# ## Exercise 3: train nothing but the head · 练习 3：只训练头
#
# A trap: whoever freezes *all* parameters after the new head is in place freezes the head with them, and
# nothing learns. headstart freezes what lies below a name, parameters and BatchNorm statistics alike; what is
# frozen keeps its bytes.
#
# 有个陷阱：换好头之后若把*所有*参数都冻结，头也一起冻住，什么也学不到。headstart 冻结指定位置以下的部分，
# 参数和 BatchNorm 统计量都在内；冻结的部分一个字节也不会变。

# %%
freeze(target, "head")
print("trains:", [name for name, parameter in target.named_parameters() if parameter.requires_grad])

head_only = headstart.train(data, **lesson, freeze="head", epochs=EPOCHS, output=runs, name="head-only")
print(accuracies(tuned, head_only))
print(f"result: {verdict(tuned, head_only)}")

# %% [markdown]
# ## Exercise 4: a head that starts from ImageNet's rows · 练习 4：从 ImageNet 的行出发
#
# The old head need not be thrown away. ImageNet has a class "hotdog": its row, number 934, knows hot dogs
# already. For a class that ImageNet does not know, take what the source model sees in its pictures more than
# in the others'. On solar cells the answers are amusing, and tell what the network goes by.
#
# 旧的头不必整个丢掉。ImageNet 里就有“hotdog”类：第 934 行早已认识热狗。若 ImageNet 没有某个类别，
# 就看源模型在这一类图片里比在其他图片里更常看到什么。对电池片来说，答案很有趣，也透露出网络的着眼点。

# %%
train_rows = dataset.indices("train")[:: max(1, len(dataset.indices("train")) // 256)]
seen = predict_probabilities(source, pictures, train_rows, preprocess)  # [pictures, 1000]
head_from = []
for label, name in enumerate(dataset.classes):
    try:
        row = class_index(name)
    except UnknownClassError:
        surplus = seen[dataset.labels[train_rows] == label].mean(0) - seen.mean(0)
        row = int(surplus.argmax())
    head_from.append(f"{name}={row}")
    print(f"{name} starts from row {row}: {class_names(1000)[row][0]}")

from_rows = headstart.train(
    data, **lesson, head_from=head_from, epochs=EPOCHS, output=runs, name="from-imagenet-rows"
)
print(accuracies(tuned, from_rows))
print(f"result: {verdict(from_rows, tuned)}")

# %% [markdown]
# ## What to remember · 小结
#
# * Copy everything but the head; let the new head learn fast and the rest slowly.
# * A learning rate means nothing without its loss: summed or averaged?
# * A figure comes with its interval, a comparison with the same pictures.
# * Why it works at all, in pictures: `docs/why-transfer-works.md`.
#
# * 除了头全部照搬；新的头学得快，其余学得慢。
# * 学习率离不开损失的算法：求和，还是平均？
# * 数字要带区间，比较要用同样的图片。
# * 为什么行得通，看图说明：`docs/why-transfer-works.zh-CN.md`。

# %%
everything = [tuned, scratch, default, *raised[1:], tuned_longer, scratch_longer, head_only, from_rows]
print(accuracies(*everything))
print(f"pictures and runs: {OUTPUT}")
