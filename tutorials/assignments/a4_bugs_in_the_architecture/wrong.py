# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants, one at a time: the answer that each replaces, and the points that it must cost.


# %% wrong="a test that always fails" answer="check_1" loses={"bug_1": 1}
def check_1(build):
    out = build(4)(torch.randn(2, 4, 6, 6))
    raise AssertionError(f"{tuple(out.shape)} looks odd")


# %% wrong="looks at the lines of the program" answer="check_1" loses={"bug_1": 2}
def check_1(build):
    import inspect

    block = build(4)
    block(torch.randn(2, 4, 6, 6))
    assert "self.conv3, self.bn3" not in inspect.getsource(build.__init__)


# %% wrong="shares the BatchNorm still" answer="fix_1" loses={"bug_1": 3}
class Fixed1(nn.Module):
    """The bottleneck that opens layer1: `channels` come in, 4 * channels go out, the size stays."""

    def __init__(self, channels):
        super().__init__()
        wide = 4 * channels
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(wide)
        # The number of channels changes, so the shortcut needs a 1x1 convolution with BatchNorm.
        self.downsample = nn.Sequential(nn.Conv2d(channels, wide, 1, bias=False), self.bn3)

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        out = torch.relu(self.bn2(self.conv2(out)))  # (N, C, H, W)
        out = self.bn3(self.conv3(out))  # (N, 4C, H, W)
        identity = self.downsample(x)  # (N, 4C, H, W)
        return torch.relu(out + identity)  # (N, 4C, H, W)


# %% wrong="lets the AttributeError out" answer="check_2" loses={"bug_2": 2}
def check_2(build):
    out = build(4, 4, 1)(torch.randn(2, 4, 8, 8))
    assert out.shape == (2, 4, 8, 8)


# %% wrong="asks for the class" answer="check_2" loses={"bug_2": 2}
def check_2(build):
    block = build(4, 8, 2)
    block(torch.randn(2, 4, 8, 8))
    assert not isinstance(block, Buggy2)


# %% wrong="asks for the name" answer="check_2" loses={"bug_2": 1}
def check_2(build):
    build(4, 8, 2)(torch.randn(2, 4, 8, 8))
    assert "Fixed" in "".join(c.__name__ for c in build.__mro__)


# %% wrong="a projection only with a stride" answer="fix_2" loses={"bug_2": 3}
class Fixed2(nn.Module):
    """A basic block; the shortcut is a projection where the shape changes."""

    def __init__(self, in_channels, out_channels, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )
        self.stride = stride
        self.out_channels = out_channels  # the next block has to know

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))  # (N, C', H/s, W/s)
        out = self.bn2(self.conv2(out))  # (N, C', H/s, W/s)
        identity = self.downsample(x)  # (N, C', H/s, W/s)
        return torch.relu(out + identity)  # (N, C', H/s, W/s)


# %% wrong="tries stride 1 only" answer="check_3" loses={"bug_3": 2}
def check_3(build):
    out = build(4, 6, 1)(torch.randn(2, 4, 16, 16))
    assert out.shape == (2, 6, 16, 16), tuple(out.shape)


# %% wrong="never runs the network" answer="check_3" loses={"bug_3": 1}
def check_3(build):
    block = build(4, 6, 2)
    assert (block.conv1.stride, block.conv2.stride) == ((2, 2), (1, 1))


# %% wrong="the stride in the second convolution" answer="fix_3" loses={"bug_3": 3}
class Fixed3(nn.Module):
    """A basic block whose shortcut learns nothing: means over pixels, and zeros for new channels."""

    def __init__(self, in_channels, out_channels, stride):
        super().__init__()

        def conv3x3(channels, stride):
            return nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)

        self.conv1 = conv3x3(in_channels, 1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = conv3x3(out_channels, stride)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.new_channels = out_channels - in_channels

    def forward(self, x):  # (N, C, H, W)
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        identity = F.adaptive_avg_pool2d(x, out.shape[2:])  # as high and as wide as the main path
        identity = F.pad(identity, (0, 0, 0, 0, 0, self.new_channels))  # and with as many channels
        return torch.relu(out + identity)


# %% wrong="looks at the logits only" answer="check_4" loses={"bug_4": 2}
def check_4(build):
    model = build((1, 2, 1), 4, 16, 5)
    out = model(np.zeros((2, 16, 16, 3), "float32"))
    assert out.shape == (2, 5), out.shape


# %% wrong="every stage halves" answer="fix_4" loses={"bug_4": 3}
def build_fixed_4(depths, width, size=32, classes=10):
    """A residual network for small images: (N, size, size, 3) -> (N, classes)."""

    def conv(x, channels, kernel_size, stride, name):
        if kernel_size > 1:
            x = layers.ZeroPadding2D(kernel_size // 2)(x)  # the same on all sides
        return layers.Conv2D(channels, kernel_size, stride, use_bias=False, name=name)(x)

    def norm(x, name):
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(x)

    def block(x, channels, stride, name):
        out = norm(conv(x, channels, 3, stride, f"{name}.conv1"), f"{name}.bn1")
        out = layers.ReLU(name=f"{name}.relu1")(out)
        out = norm(conv(out, channels, 3, 1, f"{name}.conv2"), f"{name}.bn2")
        if stride != 1 or x.shape[-1] != channels:
            x = norm(conv(x, channels, 1, stride, f"{name}.downsample.0"), f"{name}.downsample.1")
        return layers.ReLU(name=f"{name}.relu2")(layers.Add(name=f"{name}.add")([out, x]))

    inputs = keras.Input((size, size, 3))
    x = layers.ReLU(name="relu1")(norm(conv(inputs, width, 3, 1, "conv1"), "bn1"))
    for number, depth in enumerate(depths, start=1):
        channels = width * 2 ** (number - 1)
        first_stride = 2
        for index in range(depth):
            stride = first_stride if index == 0 else 1  # only where a stage begins
            x = block(x, channels, stride, f"layer{number}.{index}")
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


# %% wrong="stops nothing" answer="check_5" loses={"bug_5": 2}
def check_5(build):
    model = build(2, 4, 6, 5)
    out = model(np.zeros((3, 6, 6, 3), "float32"))
    assert np.isfinite(np.asarray(out)).all()


# %% wrong="two ReLUs" answer="fix_5" loses={"bug_5": 3}
def build_fixed_5(blocks, channels, size=8, classes=10):
    """A residual network with a single stage: (N, size, size, 3) -> (N, classes)."""

    def step(x, name, number):  # what a block does twice
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}conv{number}")(
            x
        )
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}bn{number}")(x)
        return layers.ReLU(name=f"{name}relu{number}")(x)

    inputs = keras.Input((size, size, 3))
    x = step(inputs, "", 1)  # the stem
    for index in range(blocks):
        name = f"layer1.{index}."
        out = step(x, name, 1)  # (N, H, W, C)
        out = step(out, name, 2)  # (N, H, W, C)
        x = layers.Add(name=f"{name}add")([out, x])  # (N, H, W, C)
        x = layers.ReLU(name=f"{name}relu3")(x)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


# %% wrong="no ReLU at the end" answer="fix_5" loses={"bug_5": 3}
def build_fixed_5(blocks, channels, size=8, classes=10):
    """A residual network with a single stage: (N, size, size, 3) -> (N, classes)."""

    def step(x, name, number, relu=True):
        x = layers.Conv2D(channels, 3, padding="same", use_bias=False, name=f"{name}conv{number}")(
            x
        )
        x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}bn{number}")(x)
        return layers.ReLU(name=f"{name}relu{number}")(x) if relu else x

    inputs = keras.Input((size, size, 3))
    x = step(inputs, "", 1)  # the stem
    for index in range(blocks):
        name = f"layer1.{index}."
        out = step(x, name, 1)  # (N, H, W, C)
        out = step(out, name, 2, relu=False)  # (N, H, W, C)
        x = layers.Add(name=f"{name}add")([out, x])  # (N, H, W, C)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(classes, name="fc")(x))


# %% wrong="equal depths" answer="check_6" loses={"bug_6": 2}
def check_6(build):
    network = build((2, 2, 2), (2, 3, 4), 6)
    assert network(torch.randn(2, 3, 16, 16)).shape == (2, 6)
    assert [len(getattr(network, f"layer{n}")) for n in (1, 2, 3)] == [2, 2, 2]


# %% wrong="not mended" answer="fix_6" loses={"bug_6": 3}
class Fixed6(nn.Module):
    """A residual network for small images: (N, 3, H, W) -> (N, classes)."""

    def __init__(self, depths, widths, classes=10):
        super().__init__()
        self.channels = widths[0]  # what the next block will get
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.names = ["layer1"]
        self.layer1 = self.stage(depths[0], widths[0], stride=1)
        for index in range(1, len(depths)):  # the later stages begin with a stride
            self.names.append(f"layer{index + 1}")
            self.add_module(self.names[-1], self.stage(depths[index - 1], widths[index], stride=2))
        self.fc = nn.Linear(widths[-1], classes)

    def stage(self, depth, width, stride):
        blocks = []
        for index in range(depth):
            blocks.append(BasicBlock6(self.channels, width, stride if index == 0 else 1))
            self.channels = width
        return nn.Sequential(*blocks)

    def forward(self, x):  # (N, 3, H, W)
        x = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))  # (N, classes)


# %% wrong="one entry too far" answer="fix_6" loses={"bug_6": 3}
class Fixed6(nn.Module):
    """A residual network for small images: (N, 3, H, W) -> (N, classes)."""

    def __init__(self, depths, widths, classes=10):
        super().__init__()
        self.channels = widths[0]  # what the next block will get
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.names = ["layer1"]
        self.layer1 = self.stage(depths[0], widths[0], stride=1)
        for index in range(1, len(depths)):  # the later stages begin with a stride
            self.names.append(f"layer{index + 1}")
            self.add_module(self.names[-1], self.stage(depths[-index], widths[index], stride=2))
        self.fc = nn.Linear(widths[-1], classes)

    def stage(self, depth, width, stride):
        blocks = []
        for index in range(depth):
            blocks.append(BasicBlock6(self.channels, width, stride if index == 0 else 1))
            self.channels = width
        return nn.Sequential(*blocks)

    def forward(self, x):  # (N, 3, H, W)
        x = torch.relu(self.bn1(self.conv1(x)))  # (N, C, H, W)
        for name in self.names:
            x = getattr(self, name)(x)
        return self.fc(x.mean((2, 3)))  # (N, classes)
