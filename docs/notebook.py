# %% [markdown]
# # From records to a picture and a table
#
# This script is a notebook: an editor that knows `# %%` runs it cell by cell, and `python docs/notebook.py` runs it
# whole. It reads the published runs of this repository and trains nothing; start it from the top of the repository.

# %%
import matplotlib.pyplot as plt

import bench

# %% [markdown]
# `bench.load` reads every run below a folder. These 75 runs ask over how long a delay three cells solve the adding
# problem with the same number of parameters.

# %%
runs = bench.load("results/published/runs/horizon")
print(runs)

# %% [markdown]
# `frame` has one row for each run: its settings, what came out, and what it cost. With pandas, the share of the seeds
# that solved the task is one line.

# %%
frame = runs.frame()
solved = frame.pivot_table(index="task.length", columns="cell", values="solved", aggfunc="mean")
print(solved)

# %% [markdown]
# How far back does the gradient of the answer reach before the first training step, and after the last one? The reach
# is the largest lag up to which at least 1 % of it arrives at the network's input.

# %%
reaches = frame.groupby("cell")[["reach_untrained", "reach_trained"]].median()
print(reaches)

# %% [markdown]
# `flow` has the whole curves, a row for each lag. Here is the gradient over lag of the runs of length 400, before
# training and after it, as medians over the seeds.

# %%
flow = runs.where({"task.length": 400}).flow().query("state == 'x'")
figure, panels = plt.subplots(1, 2, sharey=True, figsize=(8, 3), layout="constrained")
for cell, curves in flow.groupby("cell"):
    last = curves.groupby("run")["step"].transform("max")
    for panel, chosen in zip(panels, (curves[curves["step"] == 0], curves[curves["step"] == last]), strict=True):
        median = chosen.groupby("lag")["value"].median()
        panel.semilogy(median.index, median, label=cell)
for panel, title in zip(panels, ("before training", "after training"), strict=True):
    panel.set(title=title, xlabel="lag (steps before the first answer)")
panels[0].set_ylabel("norm of the gradient")
panels[0].legend()
plt.show()

# %% [markdown]
# A table has the same numbers as `bench table` prints, each with its 95 % interval. `to_latex()` gives it for a paper,
# `to_csv()` for other programs, and a notebook shows it as HTML.

# %%
table = bench.table(runs, rows="task.length", metrics="steps_to_solve")
print(table)
