REQUIREMENTS = ("mosaicml-streaming==0.13.0",)
