# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# Wrong answers that `selftest` plants, one at a time: the answers that each replaces, and the points that it must cost.


# %% wrong="stride 2 in stage 1 as well" answer="block_rows" loses={"block_rows": 3, "five_networks": 4}
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    factor = 4 if block == "Bottleneck" else 1
    channels, stages = stem_channels, []
    for number, depth in enumerate(depths):
        stages.append([])
        for index in range(depth):
            out, stride = factor * widths[number], 2 if index == 0 else 1
            projection = stride == 2 or channels != out
            stages[-1].append(
                Row(f"layer{number + 1}.{index}", block, channels, out, stride, projection)
            )
            channels = out
    return stages


# %% wrong="stride in every block of a stage" answer="block_rows" loses={"block_rows": 3, "five_networks": 4}
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    factor = 4 if block == "Bottleneck" else 1
    channels, stages = stem_channels, []
    for number, depth in enumerate(depths):
        stages.append([])
        for index in range(depth):
            out, stride = factor * widths[number], 2 if number > 0 else 1
            projection = stride == 2 or channels != out
            stages[-1].append(
                Row(f"layer{number + 1}.{index}", block, channels, out, stride, projection)
            )
            channels = out
    return stages


# %% wrong="projection everywhere" answer="block_rows" loses={"block_rows": 2, "five_networks": 4}
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    factor = 4 if block == "Bottleneck" else 1
    channels, stages = stem_channels, []
    for number, depth in enumerate(depths):
        stages.append([])
        for index in range(depth):
            out, stride = factor * widths[number], 2 if number > 0 and index == 0 else 1
            stages[-1].append(Row(f"layer{number + 1}.{index}", block, channels, out, stride, True))
            channels = out
    return stages


# %% wrong="projection by the place of the block" answer="block_rows" loses={"block_rows": 1}
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    factor = 4 if block == "Bottleneck" else 1
    channels, stages = stem_channels, []
    for number, depth in enumerate(depths):
        stages.append([])
        for index in range(depth):
            out, stride = factor * widths[number], 2 if number > 0 and index == 0 else 1
            projection = index == 0 and (number > 0 or block == "Bottleneck")
            stages[-1].append(
                Row(f"layer{number + 1}.{index}", block, channels, out, stride, projection)
            )
            channels = out
    return stages


# %% wrong="in_channels without the expansion" answer="block_rows" loses={"block_rows": 3, "five_networks": 4}
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    factor = 4 if block == "Bottleneck" else 1
    channels, stages = stem_channels, []
    for number, depth in enumerate(depths):
        stages.append([])
        for index in range(depth):
            out, stride = factor * widths[number], 2 if number > 0 and index == 0 else 1
            projection = stride == 2 or channels != out
            stages[-1].append(
                Row(f"layer{number + 1}.{index}", block, channels, out, stride, projection)
            )
            channels = widths[number]
    return stages


# %% wrong="always four stages" answer="block_rows" loses={"block_rows": 5}
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    factor = 4 if block == "Bottleneck" else 1
    channels, stages = stem_channels, []
    for number in range(4):
        stages.append([])
        for index in range(depths[number]):
            out, stride = factor * widths[number], 2 if number > 0 and index == 0 else 1
            projection = stride == 2 or channels != out
            stages[-1].append(
                Row(f"layer{number + 1}.{index}", block, channels, out, stride, projection)
            )
            channels = out
    return stages


# %% wrong="one block in the last stage" answer="block_rows" loses={"block_rows": 6, "five_networks": 4}
def block_rows(block, depths, widths=(64, 128, 256, 512), stem_channels=64):
    factor = 4 if block == "Bottleneck" else 1
    channels, stages = stem_channels, []
    for number, width in enumerate(widths):
        stages.append([])
        for index in range(depths[number] if number + 1 < len(widths) else 1):
            stride = 2 if number > 0 and index == 0 else 1
            projection = stride == 2 or channels != factor * width
            row = f"layer{number + 1}.{index}", block, channels, factor * width, stride, projection
            stages[-1].append(Row(*row))
            channels = factor * width
    return stages


# %% wrong="bias in the stem" answer="torch_network" loses={"torch_network": 5, "five_networks": 3}
class ResNet(nn.Module):
    def __init__(self, stages, num_classes=1000, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stages[0][0].in_channels, 7, 2, 3)
        self.bn1 = nn.BatchNorm2d(stages[0][0].in_channels)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.count = len(stages)
        for number, rows in enumerate(stages):
            self.add_module(
                f"layer{number + 1}", nn.Sequential(*(BLOCKS[r.block](r) for r in rows))
            )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[-1][-1].out_channels, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu1(self.bn1(self.conv1(x))))
        for number in range(self.count):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


# %% wrong="widths and classes written in" answer="torch_network" loses={"torch_network": 5, "five_networks": 2}
class ResNet(nn.Module):
    def __init__(self, stages, num_classes=1000, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.count = len(stages)
        for number, rows in enumerate(stages):
            self.add_module(
                f"layer{number + 1}", nn.Sequential(*(BLOCKS[r.block](r) for r in rows))
            )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(2048 if stages[0][0].block == "Bottleneck" else 512, 1000)

    def forward(self, x):
        x = self.maxpool(self.relu1(self.bn1(self.conv1(x))))
        for number in range(self.count):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


# %% wrong="mean over 7 x 7 pixels" answer="torch_network" loses={"torch_network": 3}
class ResNet(nn.Module):
    def __init__(self, stages, num_classes=1000, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stages[0][0].in_channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stages[0][0].in_channels)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.count = len(stages)
        for number, rows in enumerate(stages):
            self.add_module(
                f"layer{number + 1}", nn.Sequential(*(BLOCKS[r.block](r) for r in rows))
            )
        self.avgpool = nn.AvgPool2d(7)
        self.fc = nn.Linear(stages[-1][-1].out_channels, num_classes)

    def forward(self, x):
        x = self.maxpool(self.relu1(self.bn1(self.conv1(x))))
        for number in range(self.count):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


# %% wrong="no ReLU in the stem" answer="torch_network" loses={"torch_network": 2}
class ResNet(nn.Module):
    def __init__(self, stages, num_classes=1000, in_channels=3):
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, stages[0][0].in_channels, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stages[0][0].in_channels)
        self.relu1 = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.count = len(stages)
        for number, rows in enumerate(stages):
            self.add_module(
                f"layer{number + 1}", nn.Sequential(*(BLOCKS[r.block](r) for r in rows))
            )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(stages[-1][-1].out_channels, num_classes)

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)))
        for number in range(self.count):
            x = getattr(self, f"layer{number + 1}")(x)
        return self.fc(self.avgpool(x).flatten(1))


# %% wrong="same padding in the stem" answer="keras_network" loses={"keras_network": 2}
def resnet_keras(stages, num_classes=1000, in_channels=3, size=224):
    inputs = keras.Input((size, size, in_channels))
    channels = stages[0][0].in_channels
    x = layers.Conv2D(channels, 7, 2, padding="same", use_bias=False, name="conv1")(inputs)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(layers.ZeroPadding2D(1)(x))
    for rows in stages:
        for row in rows:
            x = BLOCKS_KERAS[row.block](row)(x)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="fc")(x))


# %% wrong="same padding in the max-pool" answer="keras_network" loses={"keras_network": 2}
def resnet_keras(stages, num_classes=1000, in_channels=3, size=224):
    inputs = keras.Input((size, size, in_channels))
    channels = stages[0][0].in_channels
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(channels, 7, 2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.MaxPooling2D(3, 2, padding="same", name="maxpool")(x)
    for rows in stages:
        for row in rows:
            x = BLOCKS_KERAS[row.block](row)(x)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="fc")(x))


# %% wrong="softmax at the end" answer="keras_network" loses={"keras_network": 3}
def resnet_keras(stages, num_classes=1000, in_channels=3, size=224):
    inputs = keras.Input((size, size, in_channels))
    channels = stages[0][0].in_channels
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(channels, 7, 2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name="bn1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(layers.ZeroPadding2D(1)(x))
    for rows in stages:
        for row in rows:
            x = BLOCKS_KERAS[row.block](row)(x)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax", name="fc")(x))


# %% wrong="Keras' own epsilon" answer="keras_network" loses={"keras_network": 3}
def resnet_keras(stages, num_classes=1000, in_channels=3, size=224):
    inputs = keras.Input((size, size, in_channels))
    channels = stages[0][0].in_channels
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(channels, 7, 2, use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(momentum=0.9, name="bn1")(x)
    x = layers.ReLU(name="relu1")(x)
    x = layers.MaxPooling2D(3, 2, name="maxpool")(layers.ZeroPadding2D(1)(x))
    for rows in stages:
        for row in rows:
            x = BLOCKS_KERAS[row.block](row)(x)
    x = layers.GlobalAveragePooling2D(name="avgpool")(x)
    return keras.Model(inputs, layers.Dense(num_classes, name="fc")(x))


# %% wrong="layers without names" answer="keras_network" loses={"keras_network": 6, "five_networks": 1}
def resnet_keras(stages, num_classes=1000, in_channels=3, size=224):
    inputs = keras.Input((size, size, in_channels))
    channels = stages[0][0].in_channels
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.Conv2D(channels, 7, 2, use_bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    x = layers.ReLU()(x)
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for rows in stages:
        for row in rows:
            x = BLOCKS_KERAS[row.block](row)(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(num_classes)(x))


# %% wrong="34 made of bottlenecks, classes forgotten" answer="five_networks" loses={"five_networks": 4}
def row_of(number):
    depths = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
    depths |= {101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
    return ("BasicBlock" if number < 34 else "Bottleneck"), depths[number]


def make_torch(number, num_classes=1000, in_channels=3):
    return ResNet(block_rows(*row_of(number)))


def make_keras(number, num_classes=1000, in_channels=3, size=224):
    return resnet_keras(block_rows(*row_of(number)), size=size)


# %% wrong="size rounded down" answer="stage_table" loses={"stage_table": 1}
def stage_table(stages, size):
    table, height = [], size // 4
    for rows in stages:
        count = 0
        for row in rows:
            height //= row.stride
            count += sum(p.numel() for p in BLOCKS[row.block](row).parameters())
        table.append(
            (rows[0].name[: rows[0].name.index(".")], rows[-1].out_channels, height, count)
        )
    return table


# %% wrong="moving statistics counted" answer="stage_table" loses={"stage_table": 2}
def stage_table(stages, size):
    table, height = [], -(-size // 4)
    for rows in stages:
        count = 0
        for row in rows:
            height = -(-height // row.stride)
            count += sum(value.numel() for value in BLOCKS[row.block](row).state_dict().values())
        table.append(
            (rows[0].name[: rows[0].name.index(".")], rows[-1].out_channels, height, count)
        )
    return table
