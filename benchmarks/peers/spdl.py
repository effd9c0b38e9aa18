REQUIREMENTS = ("spdl==0.8.0",)
