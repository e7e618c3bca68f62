# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants, one at a time: the answer that each replaces, and the points that it must cost.


# %% wrong="ReLU before the addition" answer="torch_block" loses={"torch_block": 4, "copy_weights": 1}
class BasicBlockTorch(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return out + (x if self.downsample is None else self.downsample(x))


# %% wrong="projection only where channels change" answer="torch_block" loses={"torch_block": 3}
class BasicBlockTorch(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + (x if self.downsample is None else self.downsample(x)))


# %% wrong="adds into its input" answer="torch_block" loses={"torch_block": 2}
class BasicBlockTorch(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        if self.downsample is not None:
            x = self.downsample(x)
        x += out
        return torch.relu(x)


# %% wrong="projection called shortcut" answer="torch_block" loses={"torch_block": 4, "copy_weights": 1}
class BasicBlockTorch(nn.Module):
    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_channels != out_channels:
            conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return torch.relu(out + self.shortcut(x))


# %% wrong="padding same" answer="keras_block" loses={"keras_block": 1}
class BasicBlockKeras:
    def __init__(self, in_channels, out_channels, stride=1, *, name):
        norm = {"momentum": 0.9, "epsilon": 1e-5}
        conv = {"padding": "same", "use_bias": False}
        self.conv1 = layers.Conv2D(out_channels, 3, stride, **conv, name=f"{name}.conv1")
        self.bn1 = layers.BatchNormalization(**norm, name=f"{name}.bn1")
        self.conv2 = layers.Conv2D(out_channels, 3, **conv, name=f"{name}.conv2")
        self.bn2 = layers.BatchNormalization(**norm, name=f"{name}.bn2")
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.conv = layers.Conv2D(out_channels, 1, stride, **conv, name=f"{name}.downsample.0")
            self.bn = layers.BatchNormalization(**norm, name=f"{name}.downsample.1")

    def __call__(self, x):
        out = layers.ReLU()(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        short = self.bn(self.conv(x)) if self.project else x
        return layers.ReLU()(layers.Add()([out, short]))


# %% wrong="defaults of Keras' BatchNorm" answer="keras_block" loses={"keras_block": 4, "copy_weights": 1}
class BasicBlockKeras:
    def __init__(self, in_channels, out_channels, stride=1, *, name):
        self.pad = layers.ZeroPadding2D(1)
        self.conv1 = layers.Conv2D(out_channels, 3, stride, use_bias=False, name=f"{name}.conv1")
        self.bn1 = layers.BatchNormalization(name=f"{name}.bn1")
        self.conv2 = layers.Conv2D(
            out_channels, 3, padding="same", use_bias=False, name=f"{name}.conv2"
        )
        self.bn2 = layers.BatchNormalization(name=f"{name}.bn2")
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.conv = layers.Conv2D(
                out_channels, 1, stride, use_bias=False, name=f"{name}.downsample.0"
            )
            self.bn = layers.BatchNormalization(name=f"{name}.downsample.1")

    def __call__(self, x):
        out = layers.ReLU()(self.bn1(self.conv1(self.pad(x))))
        out = self.bn2(self.conv2(out))
        short = self.bn(self.conv(x)) if self.project else x
        return layers.ReLU()(layers.Add()([out, short]))


# %% wrong="momentum copied, one name for all ReLUs" answer="keras_block" loses={"keras_block": 2}
class BasicBlockKeras:
    def __init__(self, in_channels, out_channels, stride=1, *, name):
        norm = {"momentum": 0.1, "epsilon": 1e-5}
        self.pad = layers.ZeroPadding2D(1)
        self.conv1 = layers.Conv2D(out_channels, 3, stride, use_bias=False, name=f"{name}.conv1")
        self.bn1 = layers.BatchNormalization(**norm, name=f"{name}.bn1")
        self.conv2 = layers.Conv2D(
            out_channels, 3, padding="same", use_bias=False, name=f"{name}.conv2"
        )
        self.bn2 = layers.BatchNormalization(**norm, name=f"{name}.bn2")
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.conv = layers.Conv2D(
                out_channels, 1, stride, use_bias=False, name=f"{name}.downsample.0"
            )
            self.bn = layers.BatchNormalization(**norm, name=f"{name}.downsample.1")

    def __call__(self, x):
        out = layers.ReLU(name="relu1")(self.bn1(self.conv1(self.pad(x))))
        out = self.bn2(self.conv2(out))
        short = self.bn(self.conv(x)) if self.project else x
        return layers.ReLU(name="relu2")(layers.Add(name="add")([out, short]))


# %% wrong="biases left on" answer="keras_block" loses={"keras_block": 5, "copy_weights": 1}
class BasicBlockKeras:
    def __init__(self, in_channels, out_channels, stride=1, *, name):
        norm = {"momentum": 0.9, "epsilon": 1e-5}
        self.pad = layers.ZeroPadding2D(1)
        self.conv1 = layers.Conv2D(out_channels, 3, stride, name=f"{name}.conv1")
        self.bn1 = layers.BatchNormalization(**norm, name=f"{name}.bn1")
        self.conv2 = layers.Conv2D(out_channels, 3, padding="same", name=f"{name}.conv2")
        self.bn2 = layers.BatchNormalization(**norm, name=f"{name}.bn2")
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.conv = layers.Conv2D(out_channels, 1, stride, name=f"{name}.downsample.0")
            self.bn = layers.BatchNormalization(**norm, name=f"{name}.downsample.1")

    def __call__(self, x):
        out = layers.ReLU()(self.bn1(self.conv1(self.pad(x))))
        out = self.bn2(self.conv2(out))
        short = self.bn(self.conv(x)) if self.project else x
        return layers.ReLU()(layers.Add()([out, short]))


# %% wrong="height and width exchanged" answer="copy_weights" loses={"copy_weights": 2, "keras_bottleneck": 1}
def copy_weights(arrays, model, name):
    ends = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
    ends |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    left = {key for key in arrays if "num_batches_tracked" not in key}
    for variable in model.variables:
        layer, kind = variable.path.split("/")
        if layer.startswith(name + "."):
            key = layer[len(name) + 1 :] + "." + ends.get(kind, kind)
            if key not in left:
                raise ValueError(key)
            left.remove(key)
            variable.assign(arrays[key].T if kind == "kernel" else arrays[key])
    if left:
        raise ValueError(left)


# %% wrong="mean and variance exchanged" answer="copy_weights" loses={"copy_weights": 2, "keras_bottleneck": 1}
def copy_weights(arrays, model, name):
    left = {key for key in arrays if "num_batches_tracked" not in key}
    for layer in model.layers:
        if layer.name.startswith(name + ".") and layer.weights:
            own = layer.name[len(name) + 1 :] + "."
            keys = [own + "weight", own + "bias", own + "running_var", own + "running_mean"]
            keys = keys[: len(layer.weights)]
            if not left.issuperset(keys):
                raise ValueError(keys)
            left -= set(keys)
            found = [arrays[key] for key in keys]
            layer.set_weights([a.transpose(2, 3, 1, 0) if a.ndim == 4 else a for a in found])
    if left:
        raise ValueError(left)


# %% wrong="goes by the beginning of the name" answer="copy_weights" loses={"copy_weights": 1}
def copy_weights(arrays, model, name):
    ends = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
    ends |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    used = set()
    for variable in model.variables:
        if variable.path.startswith(name):
            layer, kind = variable.path.split("/")
            key = layer.split(".", 2)[2] + "." + ends.get(kind, kind)
            if key not in arrays:
                raise ValueError(key)
            used.add(key)
            array = arrays[key]
            variable.assign(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)
    if used != {key for key in arrays if "num_batches_tracked" not in key}:
        raise ValueError("not complete")


# %% wrong="skips what does not fit" answer="copy_weights" loses={"copy_weights": 1}
def copy_weights(arrays, model, name):
    ends = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
    ends |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
    for variable in model.variables:
        layer, kind = variable.path.split("/")
        key = layer.removeprefix(name + ".") + "." + ends.get(kind, kind)
        if key in arrays:
            array = arrays[key]
            variable.assign(array.transpose(2, 3, 1, 0) if array.ndim == 4 else array)


# %% wrong="layers written down one by one" answer="copy_weights" loses={"keras_bottleneck": 1}
def copy_weights(arrays, model, name):
    left = {key for key in arrays if "num_batches_tracked" not in key}
    variables = {v.path: v for v in model.variables if v.path.startswith(name + ".")}
    pairs = []
    for conv, norm in (("conv1", "bn1"), ("conv2", "bn2"), ("downsample.0", "downsample.1")):
        if any(v.startswith(f"{name}.{conv}/") for v in variables):
            pairs.append((f"{conv}/kernel", f"{conv}.weight"))
            for theirs, ours in (
                ("gamma", "weight"),
                ("beta", "bias"),
                ("moving_mean", "running_mean"),
                ("moving_variance", "running_var"),
            ):
                pairs.append((f"{norm}/{theirs}", f"{norm}.{ours}"))
    if {ours for _, ours in pairs} != left or len(pairs) != len(variables):
        raise ValueError("the names do not fit")
    for theirs, ours in pairs:
        array = arrays[ours]
        variables[f"{name}.{theirs}"].assign(
            array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        )


# %% wrong="stride in the first 1x1" answer="torch_bottleneck" loses={"torch_bottleneck": 1}
class BottleneckTorch(nn.Module):
    def __init__(self, in_channels, mid_channels, stride=1):
        super().__init__()
        wide = 4 * mid_channels
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 1, stride, bias=False)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, mid_channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.conv3 = nn.Conv2d(mid_channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != wide:
            conv = nn.Conv2d(in_channels, wide, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(wide))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + self.downsample(x))


# %% wrong="stride in the first 1x1" answer="keras_bottleneck" loses={"keras_bottleneck": 1}
class BottleneckKeras:
    def __init__(self, in_channels, mid_channels, stride=1, *, name):
        norm = {"momentum": 0.9, "epsilon": 1e-5}
        conv = {"padding": "same", "use_bias": False}
        wide = 4 * mid_channels
        self.conv1 = layers.Conv2D(mid_channels, 1, stride, **conv, name=f"{name}.conv1")
        self.bn1 = layers.BatchNormalization(**norm, name=f"{name}.bn1")
        self.conv2 = layers.Conv2D(mid_channels, 3, **conv, name=f"{name}.conv2")
        self.bn2 = layers.BatchNormalization(**norm, name=f"{name}.bn2")
        self.conv3 = layers.Conv2D(wide, 1, **conv, name=f"{name}.conv3")
        self.bn3 = layers.BatchNormalization(**norm, name=f"{name}.bn3")
        self.project = stride != 1 or in_channels != wide
        if self.project:
            self.conv = layers.Conv2D(wide, 1, stride, **conv, name=f"{name}.downsample.0")
            self.bn = layers.BatchNormalization(**norm, name=f"{name}.downsample.1")

    def __call__(self, x):
        out = layers.ReLU()(self.bn1(self.conv1(x)))
        out = layers.ReLU()(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        short = self.bn(self.conv(x)) if self.project else x
        return layers.ReLU()(layers.Add()([out, short]))


# %% wrong="projection where mid_channels differ" answer="torch_bottleneck" loses={"torch_bottleneck": 2, "keras_bottleneck": 1}
class BottleneckTorch(nn.Module):
    def __init__(self, in_channels, mid_channels, stride=1):
        super().__init__()
        wide = 4 * mid_channels
        self.conv1 = nn.Conv2d(in_channels, mid_channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(mid_channels)
        self.conv2 = nn.Conv2d(mid_channels, mid_channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(mid_channels)
        self.conv3 = nn.Conv2d(mid_channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = nn.Identity()
        if stride != 1 or in_channels != mid_channels:
            conv = nn.Conv2d(in_channels, wide, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(wide))

    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        return torch.relu(self.bn3(self.conv3(out)) + self.downsample(x))


# %% wrong="a ReLU forgotten, padding same" answer="keras_bottleneck" loses={"keras_bottleneck": 3}
class BottleneckKeras:
    def __init__(self, in_channels, mid_channels, stride=1, *, name):
        norm = {"momentum": 0.9, "epsilon": 1e-5}
        conv = {"padding": "same", "use_bias": False}
        wide = 4 * mid_channels
        self.conv1 = layers.Conv2D(mid_channels, 1, **conv, name=f"{name}.conv1")
        self.bn1 = layers.BatchNormalization(**norm, name=f"{name}.bn1")
        self.conv2 = layers.Conv2D(mid_channels, 3, stride, **conv, name=f"{name}.conv2")
        self.bn2 = layers.BatchNormalization(**norm, name=f"{name}.bn2")
        self.conv3 = layers.Conv2D(wide, 1, **conv, name=f"{name}.conv3")
        self.bn3 = layers.BatchNormalization(**norm, name=f"{name}.bn3")
        self.project = stride != 1 or in_channels != wide
        if self.project:
            self.conv = layers.Conv2D(wide, 1, stride, **conv, name=f"{name}.downsample.0")
            self.bn = layers.BatchNormalization(**norm, name=f"{name}.downsample.1")

    def __call__(self, x):
        out = layers.ReLU()(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = self.bn3(self.conv3(out))
        short = self.bn(self.conv(x)) if self.project else x
        return layers.ReLU()(layers.Add()([out, short]))
